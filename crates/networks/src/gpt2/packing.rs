//! Sequences of different lengths without padding.
//!
//! Everything in GPT-2 but attention works on one token at a time, so the tokens of all sequences are
//! laid one under the other as rows `[rows, hidden]`. Only inside attention are they spread over
//! `[batch, longest, ..]`, and gathered again behind it. Of captions padded to their data set's
//! longest seven slots in ten are padding; here a linear layer sees none.

use tch::{Device, Tensor};

use crate::device::upload;

/// Where the rows of a batch of sequences lie.
#[derive(Debug)]
pub struct Packing {
    batch: i64,
    longest: i64,
    positions: Tensor,
    slots: Tensor,
    rows: Tensor,
}

impl Packing {
    /// Lays out sequences, each given by its rows in order; every row from 0 up belongs to one.
    ///
    /// Nothing waits for the device.
    ///
    /// # Panics
    /// When a row is in no sequence or in two.
    #[must_use]
    pub fn new(sequences: &[Vec<i64>], device: Device) -> Self {
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let count: usize = sequences.iter().map(Vec::len).sum();
        // -1 until its sequence is met.
        let mut slots = vec![-1; count];
        let mut positions = vec![0; count];
        // A slot behind a sequence's end holds any row: no token before it looks there.
        let mut rows = vec![0; sequences.len() * longest];
        for (first_slot, sequence) in (0..).step_by(longest.max(1)).zip(sequences) {
            for (position, &row) in sequence.iter().enumerate() {
                let slot = first_slot + position;
                let place = &mut slots[row as usize];
                assert_eq!(*place, -1, "row {row} is in two sequences");
                *place = slot as i64;
                positions[row as usize] = position as i64;
                rows[slot] = row;
            }
        }
        let [positions, slots, rows] = upload([&positions, &slots, &rows], device);
        Self { batch: sequences.len() as i64, longest: longest as i64, positions, slots, rows }
    }

    /// The place of each row in its sequence, from 0: `[rows]`.
    pub fn positions(&self) -> &Tensor {
        &self.positions
    }

    /// The slot of each row among `batch * longest`: `[rows]`.
    pub(super) fn slots(&self) -> &Tensor {
        &self.slots
    }

    /// Rows `[rows, width]` spread over `[batch, longest, width]`.
    pub(super) fn spread(&self, rows: &Tensor) -> Tensor {
        rows.index_select(0, &self.rows).unflatten(0, [self.batch, self.longest])
    }

    /// Some of the rows, given by number: `[wanted]`.
    #[must_use]
    pub fn select(&self, rows: &Tensor) -> Selection {
        Selection { slots: self.slots.index_select(0, rows), rows: rows.shallow_clone() }
    }
}

/// The rows that are asked for: behind the last attention, the others need not be computed.
#[derive(Debug)]
pub struct Selection {
    /// Their numbers among all rows.
    pub(super) rows: Tensor,
    /// Their slots.
    pub(super) slots: Tensor,
}

impl Selection {
    /// Their numbers among all rows: `[wanted]`.
    pub fn rows(&self) -> &Tensor {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_by_sequence_and_found_again() {
        let packing = Packing::new(&[vec![0, 2, 3], vec![1], vec![4, 5]], Device::Cpu);
        let rows = Tensor::from_slice(&[10_i64, 20, 30, 40, 50, 60]).unsqueeze(1);
        let spread = packing.spread(&rows);
        assert_eq!(spread.size(), [3, 3, 1]);
        let real =
            [[Some(10), Some(30), Some(40)], [Some(20), None, None], [Some(50), Some(60), None]];
        for (sequence, tokens) in real.iter().enumerate() {
            for (position, value) in tokens.iter().enumerate() {
                let found = spread.int64_value(&[sequence as i64, position as i64, 0]);
                assert!(value.is_none_or(|value| value == found), "{sequence} {position}");
            }
        }
        assert_eq!(packing.positions(), &Tensor::from_slice(&[0_i64, 0, 1, 2, 0, 1]));
        let flat = spread.flatten(0, 1);
        assert_eq!(flat.index_select(0, packing.slots()), rows);
        let some = packing.select(&Tensor::from_slice(&[5_i64, 1]));
        assert_eq!(
            flat.index_select(0, &some.slots),
            Tensor::from_slice(&[60_i64, 20]).unsqueeze(1)
        );
    }

    #[test]
    #[should_panic(expected = "row 1 is in two sequences")]
    fn a_row_has_one_place() {
        let _ = Packing::new(&[vec![0, 1], vec![1]], Device::Cpu);
    }
}
