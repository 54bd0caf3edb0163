//! Sequences of different lengths without padding.
//!
//! Every layer of GPT-2 but attention processes tokens independently, so the tokens of all
//! sequences are concatenated to rows `[rows, hidden]`. Only attention spreads them over `[batch,
//! longest, ..]` and gathers the results. With captions padded to the longest of their data set, 70
//! % of all slots would be padding; here linear layers process none.

use tch::{Device, Tensor};

use crate::device::upload_list;
use crate::libtorch;

/// Layout of the rows of a batch of sequences.
#[derive(Debug)]
pub struct Packing {
    batch: i64,
    longest: i64,
    positions: Tensor,
    slots: Tensor,
    rows: Tensor,
}

impl Packing {
    /// Arranges sequences, each a list of row indices; every row from 0 belongs to exactly one.
    ///
    /// The rows in `selected` become the [`Selection`]. `others` are integers to upload in the same
    /// transfer.
    ///
    /// Does not wait for the device.
    ///
    /// # Panics
    /// Panics if a row is in no sequence or in two.
    pub fn new<const N: usize>(
        sequences: &[Vec<i64>],
        selected: &[i64],
        others: [&[i64]; N],
        device: Device,
    ) -> (Self, Selection, [Tensor; N]) {
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let count: usize = sequences.iter().map(Vec::len).sum();
        // -1 until its sequence is seen.
        let mut slots = vec![-1; count];
        let mut positions = vec![0; count];
        // A slot behind a sequence's end may hold any row: attention is causal.
        let mut rows = vec![0; sequences.len() * longest];
        for (first_slot, sequence) in (0..).step_by(longest.max(1)).zip(sequences) {
            for (position, &row) in sequence.iter().enumerate() {
                let slot = first_slot + position;
                let entry = &mut slots[row as usize];
                assert_eq!(*entry, -1, "row {row} is in two sequences");
                *entry = slot as i64;
                positions[row as usize] = position as i64;
                rows[slot] = row;
            }
        }
        let selected_slots: Vec<i64> = selected.iter().map(|&row| slots[row as usize]).collect();
        let own = [&positions[..], &slots, &rows, selected, &selected_slots];
        let mut parts = upload_list(&[&own, &others[..]].concat(), device).into_iter();
        let [positions, slots, rows, selected, selected_slots] =
            own.map(|_| parts.next().unwrap_or_default());
        let others = others.map(|_| parts.next().unwrap_or_default());
        let packing =
            Self { batch: sequences.len() as i64, longest: longest as i64, positions, slots, rows };
        (packing, Selection { rows: selected, slots: selected_slots }, others)
    }

    /// Returns the position of each row in its sequence, from 0: `[rows]`.
    pub fn positions(&self) -> &Tensor {
        &self.positions
    }

    /// Returns the slot of each row among `batch * longest`: `[rows]`.
    pub(super) fn slots(&self) -> &Tensor {
        &self.slots
    }

    /// Spreads rows `[rows, width]` to `[batch, longest, width]`.
    ///
    /// A row's gradient is that of its own slot; padding has none.
    pub(super) fn spread(&self, rows: &Tensor) -> Tensor {
        let spread = libtorch::expect(libtorch::index_rows(rows, &self.rows, &self.slots));
        spread.unflatten(0, [self.batch, self.longest])
    }
}

/// Selected rows: the last block computes no others.
#[derive(Debug)]
pub struct Selection {
    /// Row indices.
    pub(super) rows: Tensor,
    /// Slots of the rows.
    pub(super) slots: Tensor,
}

impl Selection {
    /// Returns the row indices, `[selected]`.
    pub fn rows(&self) -> &Tensor {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_by_sequence_and_found_again() {
        let sequences = [vec![0, 2, 3], vec![1], vec![4, 5]];
        let (packing, some, [other]) = Packing::new(&sequences, &[5, 1], [&[7, 8]], Device::Cpu);
        assert_eq!(other, Tensor::from_slice(&[7_i64, 8]));
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
        assert_eq!(some.rows(), &Tensor::from_slice(&[5_i64, 1]));
        assert_eq!(
            flat.index_select(0, &some.slots),
            Tensor::from_slice(&[60_i64, 20]).unsqueeze(1)
        );
    }

    #[test]
    #[should_panic(expected = "row 1 is in two sequences")]
    fn a_row_belongs_to_one_sequence() {
        let _ = Packing::new(&[vec![0, 1], vec![1]], &[], [], Device::Cpu);
    }
}
