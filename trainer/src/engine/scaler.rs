//! The loss scale of fp16: gradients are computed of a multiple of the loss, so that small ones do not vanish.
//!
//! Guarantee: a pure function of which steps overflowed, which all ranks see alike, since they look at the sum of all
//! gradients. The rule is that of torch's `GradScaler`: halve on overflow, double after 2,000 steps without.

/// First scale.
const START: f64 = 65_536.0;
/// Steps without overflow after which the scale is doubled.
const PATIENCE: u32 = 2_000;
/// The scale is kept within these, so that it can neither vanish nor overflow itself.
const BOUNDS: (f64, f64) = (1.0, 16_777_216.0);

/// A dynamic loss scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaler {
    scale: f64,
    good: u32,
}

impl Default for LossScaler {
    fn default() -> Self {
        Self { scale: START, good: 0 }
    }
}

impl LossScaler {
    /// As it was when its [`LossScaler::state`] was taken.
    pub fn from_state([scale, good]: [f64; 2]) -> Self {
        Self { scale, good: good as u32 }
    }

    /// What it must be restored from.
    pub fn state(&self) -> [f64; 2] {
        [self.scale, f64::from(self.good)]
    }

    /// Factor on the loss.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Takes note of a step, whose gradients were finite or not.
    pub fn update(&mut self, finite: bool) {
        if !finite {
            (self.scale, self.good) = ((self.scale / 2.0).max(BOUNDS.0), 0);
            return;
        }
        self.good += 1;
        if self.good == PATIENCE {
            (self.scale, self.good) = ((self.scale * 2.0).min(BOUNDS.1), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_on_overflow_doubles_after_2000_good_steps_and_stays_in_bounds() {
        let mut scaler = LossScaler::default();
        scaler.update(false);
        assert_eq!(scaler.scale(), 32_768.0);
        for _ in 0..1_999 {
            scaler.update(true);
        }
        assert_eq!(scaler.scale(), 32_768.0);
        assert_eq!(LossScaler::from_state(scaler.state()), scaler);
        scaler.update(true);
        assert_eq!(scaler.scale(), 65_536.0);
        (0..100).for_each(|_| scaler.update(false));
        assert_eq!(scaler.scale(), 1.0);
        (0..100_000).for_each(|_| scaler.update(true));
        assert_eq!(scaler.scale(), 16_777_216.0);
    }
}
