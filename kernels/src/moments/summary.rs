//! Number, sum and squares of some values, without the values.
//!
//! Guarantee: two summaries merge into that of all their values together, to rounding.

/// Number of values, their sum, and the sum of their squared distances from their mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Number of values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Sum of their squared distances from their mean.
    pub m2: f64,
}

impl Summary {
    /// Of these values, in two passes.
    pub fn of(values: &[f64]) -> Self {
        let (count, sum) = (values.len() as u64, values.iter().sum());
        let mean = Self { count, sum, m2: 0.0 }.mean();
        Self { count, sum, m2: values.iter().map(|value| (value - mean).powi(2)).sum() }
    }

    /// The mean; 0 of no values.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The variance, with `ddof` degrees of freedom taken off (1: the unbiased estimate); not a number where there
    /// are no more than `ddof` values.
    pub fn variance(&self, ddof: u64) -> f64 {
        if self.count > ddof { self.m2 / (self.count - ddof) as f64 } else { f64::NAN }
    }

    /// Sum of squared distances from `centre`: `m2 + count·(mean − centre)²`.
    pub fn squares_about(&self, centre: f64) -> f64 {
        self.m2 + self.count as f64 * (self.mean() - centre).powi(2)
    }

    /// Takes in the values of another summary: `m2 = m2ₐ + m2ᵦ + (meanᵦ − meanₐ)²·nₐnᵦ / (nₐ + nᵦ)`.
    pub fn merge(&mut self, other: &Self) {
        let (a, b) = (self.count as f64, other.count as f64);
        if other.count > 0 && self.count > 0 {
            let distance = other.mean() - self.mean();
            self.m2 += other.m2 + distance * distance * (a / (a + b) * b);
        } else {
            self.m2 += other.m2;
        }
        self.count += other.count;
        self.sum += other.sum;
    }
}
