//! What is committed to Kafka beside an offset: the id of the warehouse, and how far the
//! partition was read where records of some streams wait for their tables.

/// The text beside an offset.
pub(crate) fn beside(warehouse: &str, offset: i64, read: i64) -> String {
    if read > offset {
        format!("{warehouse} {read}")
    } else {
        warehouse.to_owned()
    }
}

/// The id of the warehouse, and up to where the partition is loaded but for the records
/// that wait.
pub(crate) fn parse(text: &str, offset: i64) -> (&str, i64) {
    let parts = text.rsplit_once(' ');
    let further = parts.and_then(|(warehouse, read)| Some((warehouse, read.parse::<i64>().ok()?)));
    further.map_or((text, offset), |(warehouse, read)| {
        (warehouse, read.max(offset))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (offset, read) in [(7, 7), (7, 12), (0, 1)] {
            for id in ["4f1c", "this one"] {
                let text = beside(id, offset, read);
                assert_eq!(parse(&text, offset), (id, read), "{text}");
            }
        }
        assert_eq!(parse("4f1c", 7), ("4f1c", 7));
        assert_eq!(parse("", 7), ("", 7));
    }
}
