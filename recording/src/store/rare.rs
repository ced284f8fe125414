use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, PrimitiveBuilder};
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_schema::DataType;

use super::schema::absent;

/// Builds a column of numbers that are mostly missing, many in a row.
#[derive(Debug)]
pub struct Rare<T: ArrowPrimitiveType> {
    numbers: PrimitiveBuilder<T>,
    /// That are not in `numbers` yet.
    nulls: usize,
}

impl<T: ArrowPrimitiveType> Default for Rare<T> {
    fn default() -> Rare<T> {
        Rare::with_capacity(0)
    }
}

impl<T: ArrowPrimitiveType> Rare<T> {
    pub fn with_capacity(rows: usize) -> Rare<T> {
        Rare {
            numbers: PrimitiveBuilder::with_capacity(rows),
            nulls: 0,
        }
    }

    #[inline]
    pub fn push(&mut self, number: T::Native) {
        self.append_nulls();
        self.numbers.append_value(number);
    }

    pub fn push_option(&mut self, number: Option<T::Native>) {
        match number {
            Some(number) => self.push(number),
            None => self.push_nulls(1),
        }
    }

    pub fn push_nulls(&mut self, count: usize) {
        self.nulls += count;
    }

    fn append_nulls(&mut self) {
        if self.nulls > 0 {
            self.numbers.append_nulls(self.nulls);
            self.nulls = 0;
        }
    }

    pub fn len(&self) -> usize {
        self.numbers.len() + self.nulls
    }

    /// A column of that type, which is one of such numbers.
    pub fn finish(mut self, data_type: &DataType) -> ArrayRef {
        match self.finish_numbers() {
            Some(numbers) => Arc::new(numbers.with_data_type(data_type.clone())),
            None => absent(data_type, self.nulls),
        }
    }

    /// `None` where all are missing.
    pub fn finish_numbers(&mut self) -> Option<PrimitiveArray<T>> {
        if self.numbers.is_empty() {
            return None;
        }
        self.append_nulls();
        Some(self.numbers.finish())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::UInt64Type;

    use super::*;

    #[test]
    fn numbers_stand_where_they_were_pushed() {
        let mut column = Rare::<UInt64Type>::default();
        column.push_nulls(2);
        column.push(7);
        column.push_option(None);
        assert_eq!(column.len(), 4);
        let column = column.finish(&DataType::UInt64);
        let numbers: Vec<_> = column.as_primitive::<UInt64Type>().iter().collect();
        assert_eq!(numbers, [None, None, Some(7), None]);
    }

    #[test]
    fn a_column_without_any_is_as_long_as_asked_for() {
        for rows in [0, 1, 8_192, 8_193, 100_000] {
            let mut column = Rare::<UInt64Type>::default();
            column.push_nulls(rows);
            let column = column.finish(&DataType::UInt64);
            assert_eq!((column.len(), column.null_count()), (rows, rows));
        }
    }
}
