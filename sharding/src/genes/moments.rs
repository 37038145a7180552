//! Mean and variance of every column (gene) over rows (cells) that come in blocks.
//!
//! Guarantee: memory is two numbers a column. Within a block deviations are taken from the block's own mean, and
//! blocks are joined by Chan's formula, so nothing cancels; the result depends on the order of the blocks only.

/// Count, mean and sum of squared deviations of every column.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    n_rows: u64,
    mean: Vec<f64>,
    /// Sum of squared deviations from the mean.
    m2: Vec<f64>,
}

impl Moments {
    /// The moments of no rows of `n_cols` columns.
    pub fn new(n_cols: usize) -> Self {
        Self { n_rows: 0, mean: vec![0.0; n_cols], m2: vec![0.0; n_cols] }
    }

    /// Takes up a block of `n_rows` rows: the column and value of every stored element; all others are zero.
    ///
    /// # Panics
    /// When a column is not below the number of columns.
    pub fn push_rows(&mut self, n_rows: usize, columns: &[u32], values: &[f64]) {
        if n_rows == 0 {
            return;
        }
        let n_cols = self.mean.len();
        let (mut mean, mut stored) = (vec![0.0; n_cols], vec![0_u32; n_cols]);
        for (&column, value) in columns.iter().zip(values) {
            mean[column as usize] += value;
            stored[column as usize] += 1;
        }
        for sum in &mut mean {
            *sum /= n_rows as f64;
        }
        let absent = |(mean, &stored): (&f64, &u32)| (n_rows - stored as usize) as f64 * mean * mean;
        let mut m2: Vec<f64> = mean.iter().zip(&stored).map(absent).collect();
        for (&column, value) in columns.iter().zip(values) {
            m2[column as usize] += (value - mean[column as usize]).powi(2);
        }
        self.merge(&Self { n_rows: n_rows as u64, mean, m2 });
    }

    /// Joins the moments of other rows (Chan, Golub and LeVeque 1983, equation 2.1).
    ///
    /// # Panics
    /// When the numbers of columns differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.mean.len(), other.mean.len(), "moments of unequal numbers of columns");
        if other.n_rows == 0 {
            return;
        }
        let n_rows = self.n_rows + other.n_rows;
        let share = other.n_rows as f64 / n_rows as f64;
        let weight = self.n_rows as f64 * share;
        for (column, (mean, m2)) in self.mean.iter_mut().zip(&mut self.m2).enumerate() {
            let delta = other.mean[column] - *mean;
            *mean += delta * share;
            *m2 += other.m2[column] + delta * delta * weight;
        }
        self.n_rows = n_rows;
    }

    /// Rows so far.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Mean of every column.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Unbiased variance of every column, divided by the rows less one; NaN below two rows.
    pub fn variance(&self) -> Vec<f64> {
        let rows = if self.n_rows < 2 { f64::NAN } else { self.n_rows as f64 - 1.0 };
        self.m2.iter().map(|m2| m2 / rows).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Moments;

    /// Rows with every second value left out where it is zero.
    fn push(moments: &mut Moments, rows: &[[f64; 3]]) {
        let stored = rows.iter().flat_map(|row| (0_u32..).zip(*row)).filter(|(_, value)| *value != 0.0);
        let (columns, values): (Vec<u32>, Vec<f64>) = stored.unzip();
        moments.push_rows(rows.len(), &columns, &values);
    }

    /// A plain column, one whose mean dwarfs its spread, and one that is mostly zero.
    fn row() -> impl Strategy<Value = [f64; 3]> {
        (0.0_f64..9.0, 1e6_f64..1e6 + 1.0, prop::sample::select(vec![0.0, 0.0, 5.0])).prop_map(<[f64; 3]>::from)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_chunking_gives_the_moments_of_two_passes(
            rows in prop::collection::vec(row(), 2..60),
            chunk in 1_usize..20,
            cut in 0_usize..60,
        ) {
            let (head, tail) = rows.split_at(cut.min(rows.len()));
            let (mut found, mut second) = (Moments::new(3), Moments::new(3));
            head.chunks(chunk).for_each(|rows| push(&mut found, rows));
            tail.chunks(chunk).for_each(|rows| push(&mut second, rows));
            found.merge(&second);
            let n = rows.len() as f64;
            prop_assert_eq!(found.n_rows(), rows.len() as u64);
            for column in 0..3 {
                let mean = rows.iter().map(|row| row[column]).sum::<f64>() / n;
                let variance = rows.iter().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / (n - 1.0);
                prop_assert!((found.mean()[column] - mean).abs() <= 1e-12 * mean.abs());
                prop_assert!((found.variance()[column] - variance).abs() <= 1e-9 * variance.abs() + 1e-12);
            }
        }
    }

    #[test]
    fn one_row_has_no_variance_and_no_row_changes_nothing() {
        let mut moments = Moments::new(2);
        moments.push_rows(0, &[], &[]);
        assert_eq!(moments, Moments::new(2));
        moments.push_rows(1, &[1], &[4.0]);
        assert_eq!(moments.mean(), [0.0, 4.0]);
        assert!(moments.variance().iter().all(|variance| variance.is_nan()));
    }
}
