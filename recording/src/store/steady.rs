use std::sync::{Arc, LazyLock};

use arrow_array::builder::{ArrayBuilder, PrimitiveBuilder};
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::DataType;

use super::schema::{SHARED_ROWS, absent};

/// Builds a column of numbers that are mostly the same, or mostly missing. As long as all are, they are
/// only counted.
#[derive(Debug)]
pub struct Steady<T: ArrowPrimitiveType> {
    room: usize,
    numbers: PrimitiveBuilder<T>,
    /// How many are not in `numbers` yet, and which number they are: `None` where they are missing.
    counted: usize,
    same: Option<T::Native>,
}

impl<T: ArrowPrimitiveType> Default for Steady<T> {
    fn default() -> Steady<T> {
        Steady::with_capacity(0)
    }
}

impl<T: ArrowPrimitiveType> Steady<T> {
    pub fn with_capacity(rows: usize) -> Steady<T> {
        Steady {
            room: rows,
            numbers: PrimitiveBuilder::with_capacity(0),
            counted: 0,
            same: None,
        }
    }

    #[inline]
    pub fn push(&mut self, number: T::Native) {
        if self.same == Some(number) {
            self.counted += 1;
        } else {
            self.push_other(number);
        }
    }

    #[inline]
    fn push_other(&mut self, number: T::Native) {
        if self.len() == 0 {
            self.same = Some(number);
            self.counted = 1;
        } else {
            self.settle();
            self.numbers.append_value(number);
        }
    }

    pub fn push_option(&mut self, number: Option<T::Native>) {
        match number {
            Some(number) => self.push(number),
            None => self.push_nulls(1),
        }
    }

    pub fn push_nulls(&mut self, count: usize) {
        if self.same.is_some() && count > 0 {
            self.settle();
        }
        self.counted += count;
    }

    #[inline]
    fn settle(&mut self) {
        if self.counted > 0 {
            self.enter_counted();
        }
    }

    fn enter_counted(&mut self) {
        if self.numbers.is_empty() {
            self.numbers = PrimitiveBuilder::with_capacity(self.room);
        }
        match self.same.take() {
            Some(number) => self.numbers.append_value_n(number, self.counted),
            None => self.numbers.append_nulls(self.counted),
        }
        self.counted = 0;
    }

    pub fn len(&self) -> usize {
        self.numbers.len() + self.counted
    }

    /// A column of that type, which is one of such numbers.
    pub fn finish(mut self, data_type: &DataType) -> ArrayRef {
        match self.finish_numbers() {
            Some(numbers) => Arc::new(numbers.with_data_type(data_type.clone())),
            None => absent(data_type, self.counted),
        }
    }

    /// `None` where all are missing.
    pub fn finish_numbers(&mut self) -> Option<PrimitiveArray<T>> {
        if !self.numbers.is_empty() {
            self.settle();
            return Some(self.numbers.finish());
        }
        let same = repeated(self.same?, self.counted);
        Some(PrimitiveArray::new(same, None))
    }
}

/// Zeros share their memory, up to a number of rows.
fn repeated<N: arrow_buffer::ArrowNativeType>(number: N, rows: usize) -> ScalarBuffer<N> {
    static ZEROS: LazyLock<Buffer> = LazyLock::new(|| vec![0_u64; SHARED_ROWS].into());
    if number == N::default() && rows <= SHARED_ROWS {
        ScalarBuffer::new(ZEROS.clone(), 0, rows)
    } else {
        vec![number; rows].into()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::UInt64Type;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_stand_where_they_were_pushed(
            runs in prop::collection::vec((prop::option::of(0..3_u64), 0..4_usize), 0..6),
        ) {
            let mut column = Steady::<UInt64Type>::default();
            let mut pushed = Vec::new();
            for (number, count) in runs {
                match number {
                    Some(number) => (0..count).for_each(|_| column.push(number)),
                    None => column.push_nulls(count),
                }
                pushed.extend(std::iter::repeat_n(number, count));
                prop_assert_eq!(column.len(), pushed.len());
            }
            let column = column.finish(&DataType::UInt64);
            let numbers: Vec<_> = column.as_primitive::<UInt64Type>().iter().collect();
            prop_assert_eq!(numbers, pushed);
        }
    }

    #[test]
    fn a_column_of_one_number_or_none_is_as_long_as_asked_for() {
        for number in [None, Some(0), Some(7)] {
            for rows in [1, SHARED_ROWS, SHARED_ROWS + 1, 100_000] {
                let mut column = Steady::<UInt64Type>::default();
                (0..rows).for_each(|_| column.push_option(number));
                let column = column.finish(&DataType::UInt64);
                assert_eq!(column.len(), rows);
                let numbers = column.as_primitive::<UInt64Type>();
                assert!(numbers.iter().all(|it| it == number));
            }
        }
    }
}
