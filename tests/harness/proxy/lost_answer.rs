//! Which request an lost_answer waits for, and where in the answer it falls.
//!
//! It must not know sockets.

/// A request that an lost_answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Whatever is sent next.
    Any,
    /// One whose bytes contain these.
    Containing(&'static str),
    /// A Kafka request of this API key: 0 produce, 1 fetch, 8 offset commit,
    /// 22 init producer id, 26 end transaction.
    Kafka(i16),
}

/// Waits for a request, lets it be done, and loses its answer: the rest of the
/// answer is swallowed and both connections are reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostAnswer {
    /// What it waits for.
    pub request: Request,
    /// So many requests of that kind are let by first.
    pub skip: usize,
    /// So many bytes of the answer still arrive.
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

    /// Lets so many such requests by first.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Lets the answer begin.
    #[must_use]
    pub fn within_answer(mut self, bytes: usize) -> Self {
        self.answer_bytes = bytes;
        self
    }
}

/// An lost_answer that was met, on the connection where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matched {
    /// Kafka's number of the request, which its answer repeats.
    correlation: Option<i32>,
    answer_bytes: usize,
}

/// Sees the requests, or the answers, of one connection.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    frames: Frames,
    /// The end of what went by, where a searched text may begin.
    tail: Vec<u8>,
}

impl Scanner {
    /// The first lost_answer that these bytes of requests meet; it is taken.
    pub(super) fn requests(
        &mut self,
        bytes: &[u8],
        lost_answers: &mut Vec<LostAnswer>,
    ) -> Option<Matched> {
        let frames = if lost_answers.is_empty() {
            self.frames.pass(bytes);
            self.keep_tail(bytes);
            return None;
        } else {
            self.frames.pass(bytes)
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

    /// How many of these bytes of answers still pass, where the lost_answer falls
    /// within them.
    pub(super) fn answers(&mut self, bytes: &[u8], matched: &mut Option<Matched>) -> Option<usize> {
        let frames = self.frames.pass(bytes);
        let lost_answer = matched.as_mut()?;
        let mut begins = 0;
        if let Some(correlation) = lost_answer.correlation {
            let answer = frames
                .iter()
                .find(|frame| frame.correlation_of_answer() == correlation)?;
            // A header cut in two has begun in bytes that are gone.
            begins = answer.begins.unwrap_or_default();
            lost_answer.correlation = None;
        }
        let falls = begins + lost_answer.answer_bytes;
        if falls < bytes.len() {
            return Some(falls);
        }
        lost_answer.answer_bytes = falls - bytes.len();
        None
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        const LONGEST: usize = 64;
        self.tail.extend_from_slice(bytes);
        let surplus = self.tail.len().saturating_sub(LONGEST);
        self.tail.drain(..surplus);
    }
}

/// How often `text` ends in `seen` behind the first `before` bytes.
fn ending_after(seen: &[u8], text: &[u8], before: usize) -> usize {
    seen.windows(text.len().max(1))
        .enumerate()
        .filter(|(start, window)| *window == text && start + text.len() > before)
        .count()
}

/// The beginning of a frame, and where in the bytes it was.
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

/// Finds the beginnings of frames in a stream of bytes.
#[derive(Debug, Default)]
struct Frames {
    header: Vec<u8>,
    /// Bytes of the frame that are still to come.
    rest: usize,
}

impl Frames {
    fn pass(&mut self, bytes: &[u8]) -> Vec<Frame> {
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
                // What is no frame of Kafka's is asked for no frame.
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

    /// A request of a key with `size` bytes behind its header.
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
    fn a_request_of_kafkas_is_found_however_it_is_cut_into_pieces() {
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
    fn only_the_answer_of_the_request_is_swallowed() {
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
        assert!(met.is_some(), "the second is met");
    }

    #[test]
    fn an_answer_is_cut_behind_the_bytes_that_may_pass() {
        let mut matched = Some(Matched {
            correlation: None,
            answer_bytes: 5,
        });
        let mut scanner = Scanner::default();
        assert_eq!(scanner.answers(b"abc", &mut matched), None);
        assert_eq!(scanner.answers(b"defg", &mut matched), Some(2));
    }
}
