//! Finds a request in a stream of bytes, and the byte of its answer at which the
//! connection has to be reset. Does no I/O.

/// A request whose answer is to be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The next bytes sent.
    Any,
    /// One that contains this text.
    Containing(&'static str),
    /// A Kafka request of this API key: 0 produce, 1 fetch, 8 offset commit,
    /// 22 init producer id, 26 end transaction.
    Kafka(i16),
}

/// Waits for a request, forwards it, and loses its answer: the rest of the answer
/// is dropped and both connections are reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostAnswer {
    /// The request to wait for.
    pub request: Request,
    /// Requests of that kind to ignore first.
    pub skip: usize,
    /// Bytes of the answer that still arrive.
    pub answer_bytes: usize,
}

impl LostAnswer {
    /// Loses the whole answer to the next such request.
    pub fn to(request: Request) -> Self {
        Self {
            request,
            skip: 0,
            answer_bytes: 0,
        }
    }

    /// Ignores that many such requests first.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Forwards the first bytes of the answer.
    #[must_use]
    pub fn within_answer(mut self, bytes: usize) -> Self {
        self.answer_bytes = bytes;
        self
    }
}

/// A request that was found, on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matched {
    /// Kafka's correlation id of the request, which the answer repeats.
    correlation: Option<i32>,
    answer_bytes: usize,
}

/// Reads the requests, or the answers, of one connection.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    frames: Frames,
    /// The last bytes, in which a searched text may begin.
    tail: Vec<u8>,
}

impl Scanner {
    /// Removes and returns the first loss whose request is in these bytes.
    pub(super) fn requests(
        &mut self,
        bytes: &[u8],
        lost_answers: &mut Vec<LostAnswer>,
    ) -> Option<Matched> {
        let frames = if lost_answers.is_empty() {
            self.frames.push(bytes);
            self.keep_tail(bytes);
            return None;
        } else {
            self.frames.push(bytes)
        };
        let seen = [self.tail.as_slice(), bytes].concat();
        let tail = self.tail.len();
        let mut matched = None;
        lost_answers.retain_mut(|lost_answer| {
            if matched.is_some() {
                return true;
            }
            let correlations: Vec<Option<i32>> = match lost_answer.request {
                Request::Any => vec![None],
                Request::Containing(text) => {
                    let count = ending_after(&seen, text.as_bytes(), tail);
                    vec![None; count]
                }
                Request::Kafka(key) => frames
                    .iter()
                    .filter(|frame| frame.api_key() == key)
                    .map(|frame| Some(frame.correlation_of_request()))
                    .collect(),
            };
            let met = correlations.get(lost_answer.skip).copied();
            lost_answer.skip = lost_answer.skip.saturating_sub(correlations.len());
            matched = met.map(|correlation| Matched {
                correlation,
                answer_bytes: lost_answer.answer_bytes,
            });
            matched.is_none()
        });
        self.keep_tail(bytes);
        matched
    }

    /// How many of these bytes of answers are still forwarded; `None` where all
    /// are.
    pub(super) fn answers(&mut self, bytes: &[u8], matched: &mut Option<Matched>) -> Option<usize> {
        let frames = self.frames.push(bytes);
        let lost_answer = matched.as_mut()?;
        let mut begins = 0;
        if let Some(correlation) = lost_answer.correlation {
            let answer = frames
                .iter()
                .find(|frame| frame.correlation_of_answer() == correlation)?;
            // Part of the header may have been forwarded already.
            begins = answer.begins.unwrap_or_default();
            lost_answer.correlation = None;
        }
        let end = begins + lost_answer.answer_bytes;
        if end < bytes.len() {
            return Some(end);
        }
        lost_answer.answer_bytes = end - bytes.len();
        None
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        const LONGEST: usize = 64;
        self.tail.extend_from_slice(bytes);
        let surplus = self.tail.len().saturating_sub(LONGEST);
        self.tail.drain(..surplus);
    }
}

/// How often `text` ends in `seen` after the first `before` bytes.
fn ending_after(seen: &[u8], text: &[u8], before: usize) -> usize {
    seen.windows(text.len().max(1))
        .enumerate()
        .filter(|(start, window)| *window == text && start + text.len() > before)
        .count()
}

/// The header of a frame of Kafka, and its offset in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    header: [u8; HEADER],
    begins: Option<usize>,
}

/// Length, API key, version and correlation id.
const HEADER: usize = 12;

impl Frame {
    fn api_key(&self) -> i16 {
        i16::from_be_bytes([self.header[4], self.header[5]])
    }

    fn correlation_of_request(&self) -> i32 {
        number(&self.header, 8)
    }

    fn correlation_of_answer(&self) -> i32 {
        number(&self.header, 4)
    }
}

fn number(header: &[u8; HEADER], at: usize) -> i32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    i32::from_be_bytes(bytes)
}

/// Finds the headers of frames in a stream of bytes.
#[derive(Debug, Default)]
struct Frames {
    header: Vec<u8>,
    /// Bytes of the current frame still to come.
    rest: usize,
}

impl Frames {
    fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            if self.rest > 0 {
                let skipped = self.rest.min(bytes.len() - at);
                self.rest -= skipped;
                at += skipped;
                continue;
            }
            let begins = at.checked_sub(self.header.len());
            let wanted = (HEADER - self.header.len()).min(bytes.len() - at);
            self.header.extend_from_slice(&bytes[at..at + wanted]);
            at += wanted;
            if let Ok(header) = <[u8; HEADER]>::try_from(self.header.as_slice()) {
                self.header.clear();
                // The length is meaningless if the bytes are not Kafka's; then
                // nobody uses the frame.
                let length = usize::try_from(number(&header, 0)).unwrap_or_default();
                self.rest = (length + 4).saturating_sub(HEADER);
                found.push(Frame { header, begins });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request with an API key and `size` bytes after its header.
    fn request(key: i16, correlation: i32, size: u8) -> Vec<u8> {
        let mut frame = (8 + i32::from(size)).to_be_bytes().to_vec();
        frame.extend(key.to_be_bytes());
        frame.extend(9_i16.to_be_bytes());
        frame.extend(correlation.to_be_bytes());
        frame.extend(vec![7; usize::from(size)]);
        frame
    }

    fn answer(correlation: i32, size: u8) -> Vec<u8> {
        let mut frame = (4 + i32::from(size)).to_be_bytes().to_vec();
        frame.extend(correlation.to_be_bytes());
        frame.extend(vec![8; usize::from(size)]);
        frame
    }

    #[test]
    fn a_kafka_request_is_found_in_pieces_of_any_size() {
        let stream = [request(0, 1, 30), request(26, 2, 3), request(1, 3, 40)].concat();
        for size in 1..stream.len() {
            let mut lost_answers = vec![LostAnswer::to(Request::Kafka(26))];
            let mut scanner = Scanner::default();
            let met: Vec<_> = stream
                .chunks(size)
                .filter_map(|piece| scanner.requests(piece, &mut lost_answers))
                .collect();
            let expected = Matched {
                correlation: Some(2),
                answer_bytes: 0,
            };
            assert_eq!(met, [expected], "in pieces of {size}");
            assert!(lost_answers.is_empty());
        }
    }

    #[test]
    fn the_answer_of_the_request_is_found() {
        let stream = [answer(1, 30), answer(2, 20), answer(3, 5)].concat();
        let mut matched = Some(Matched {
            correlation: Some(2),
            answer_bytes: 10,
        });
        let mut scanner = Scanner::default();
        assert_eq!(scanner.answers(&stream, &mut matched), Some(38 + 10));
    }

    #[test]
    fn a_text_is_found_across_pieces_and_counted_once() {
        let mut lost_answers = vec![LostAnswer::to(Request::Containing("INSERT INTO")).after(1)];
        let mut scanner = Scanner::default();
        for piece in ["POST /?query=INS", "ERT INTO a", "xx", "SELECT"] {
            assert_eq!(scanner.requests(piece.as_bytes(), &mut lost_answers), None);
        }
        let met = scanner.requests(b"POST INSERT INTO b", &mut lost_answers);
        assert!(met.is_some(), "the second is found");
    }

    #[test]
    fn an_answer_is_cut_after_the_bytes_to_forward() {
        let mut matched = Some(Matched {
            correlation: None,
            answer_bytes: 5,
        });
        let mut scanner = Scanner::default();
        assert_eq!(scanner.answers(b"abc", &mut matched), None);
        assert_eq!(scanner.answers(b"defg", &mut matched), Some(2));
    }
}
