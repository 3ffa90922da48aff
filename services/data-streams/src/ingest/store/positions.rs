//! Where the loader is in each partition, and which partitions are to be read again. Pure.

use std::collections::HashMap;

use crate::ingest::poll::{batch::Batch, handover::PartitionHold};

/// The loader's positions in the partitions of one assignment.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    /// The assignment.
    generation: u64,
    /// By partition, the offset that is loaded next.
    next: HashMap<i32, i64>,
    /// Partitions that the poller has to read again, with the number of the last hold.
    held: HashMap<i32, u64>,
    /// Number of the last hold of all.
    last: u64,
}

impl Positions {
    /// Whether a batch is of another assignment than the one before it, whose positions
    /// are then forgotten.
    pub(crate) fn is_of_another_assignment(&mut self, batch: &Batch) -> bool {
        let is_another = batch.generation != self.generation;
        if is_another {
            *self = Self {
                generation: batch.generation,
                last: self.last,
                ..Self::default()
            };
        }
        is_another
    }

    /// Takes out of a batch what was read before its partition was held, because it will
    /// be read again. Then moves on to the end of the batch. Returns how many messages
    /// were taken out.
    pub(crate) fn admit(&mut self, batch: &mut Batch) -> usize {
        self.held.retain(|partition, number| {
            let sought = batch.sought.get(partition).copied().unwrap_or(0);
            sought < *number
        });
        let before = batch.messages.len();
        if !self.held.is_empty() {
            let is_held = |partition: &i32| self.held.contains_key(partition);
            batch.messages.retain(|it| !is_held(&it.partition));
            batch.next.retain(|partition, _| !is_held(partition));
        }
        self.next.extend(&batch.next);
        before - batch.messages.len()
    }

    /// Goes back to an offset of a partition. `None` if the partition is loaded from there
    /// or from before it already.
    pub(crate) fn go_back(&mut self, partition: i32, offset: i64) -> Option<PartitionHold> {
        if self
            .next
            .get(&partition)
            .is_some_and(|next| *next <= offset)
        {
            return None;
        }
        self.last += 1;
        self.next.insert(partition, offset);
        self.held.insert(partition, self.last);
        Some(PartitionHold {
            generation: self.generation,
            number: self.last,
            partition,
            offset,
        })
    }

    /// Whether no partition is to be read again.
    pub(crate) fn none_is_held(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ingest::poll::message::Message;

    /// A batch of one message of a partition, read after the hold of this number.
    fn batch(partition: i32, offset: i64, sought: u64) -> Batch {
        let message = Message {
            partition,
            offset,
            ..Message::default()
        };
        Batch {
            messages: vec![message],
            next: BTreeMap::from([(partition, offset + 1)]),
            sought: HashMap::from([(partition, sought)]),
            ..Batch::default()
        }
    }

    /// Positions after one message of partition 0, with this offset.
    fn after(offset: i64) -> Positions {
        let mut positions = Positions::default();
        assert_eq!(positions.admit(&mut batch(0, offset, 0)), 0);
        positions
    }

    #[test]
    fn a_hold_at_a_later_offset_does_not_replace_an_earlier_one() {
        let mut positions = after(300);
        assert_eq!(positions.go_back(0, 100).unwrap().number, 1);
        assert_eq!(positions.go_back(0, 200), None);
        assert_eq!(positions.go_back(0, 50).unwrap().number, 2);
    }

    #[test]
    fn a_partition_that_is_being_read_again_goes_on_to_later_offsets() {
        let mut positions = after(300);
        let hold = positions.go_back(0, 100).unwrap();
        assert_eq!(positions.admit(&mut batch(0, 149, hold.number)), 0);
        assert_eq!(positions.go_back(0, 200), None);
        assert_eq!(positions.go_back(0, 120).unwrap().offset, 120);
    }

    #[test]
    fn what_was_read_before_a_hold_is_taken_out_whatever_other_partitions_do() {
        let mut positions = after(50);
        let other = positions.go_back(1, 5).unwrap();
        let hold = positions.go_back(0, 20).unwrap();
        let mut before = batch(0, 51, 0);
        before.sought.insert(1, other.number);
        assert_eq!(positions.admit(&mut before), 1);
        assert_eq!(before.next, BTreeMap::new());
        let mut again = batch(0, 20, hold.number);
        assert_eq!(positions.admit(&mut again), 0);
        assert_eq!(again.next, BTreeMap::from([(0, 21)]));
        assert!(positions.none_is_held());
    }

    #[test]
    fn an_end_without_messages_ends_a_hold() {
        let mut positions = after(50);
        let hold = positions.go_back(0, 20).unwrap();
        let mut end = batch(0, 60, hold.number);
        end.messages.clear();
        positions.admit(&mut end);
        assert_eq!(end.next, BTreeMap::from([(0, 61)]));
    }

    #[test]
    fn another_assignment_begins_without_positions_and_holds() {
        let mut positions = after(300);
        positions.go_back(0, 100).unwrap();
        let mut of_another = batch(0, 10, 0);
        of_another.generation = 1;
        assert!(positions.is_of_another_assignment(&of_another));
        assert_eq!(positions.admit(&mut of_another), 0);
        assert!(!positions.is_of_another_assignment(&of_another));
        let hold = positions.go_back(0, 5).unwrap();
        assert_eq!((hold.generation, hold.number), (1, 2));
    }
}
