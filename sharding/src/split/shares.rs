//! How large the folds are.

use std::fmt;
use std::str::FromStr;

/// Parts that shares are counted in: hundredths of a percent.
const WHOLE: u64 = 10_000;

/// Shares of train, val and test, which make up the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    val: u64,
    test: u64,
}

impl Default for Shares {
    /// 70/15/15.
    fn default() -> Self {
        Self { val: 1500, test: 1500 }
    }
}

impl Shares {
    /// Numbers of val and of test of `n` things, each to the nearest.
    pub(super) fn counts(self, n: usize) -> (usize, usize) {
        let part = |share: u64| ((share * n as u64 + WHOLE / 2) / WHOLE) as usize;
        let val = part(self.val);
        (val, part(self.test).min(n - val))
    }

    fn train(self) -> u64 {
        WHOLE - self.val - self.test
    }

    /// Train and test together, and val, in words.
    pub(super) fn without_test(self) -> String {
        format!("{}/{}", percent(self.train() + self.test), percent(self.val))
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", percent(self.train()), percent(self.val), percent(self.test))
    }
}

fn percent(share: u64) -> String {
    match (share / 100, share % 100) {
        (whole, 0) => whole.to_string(),
        (whole, part) => format!("{whole}.{part:02}"),
    }
}

impl FromStr for Shares {
    type Err = String;

    /// Reads `TRAIN/VAL/TEST`, in percent or as parts of 1.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("'{text}' {what}; write train/val/test in percent, e.g. 70/15/15");
        let parts: Option<Vec<f64>> = text.split('/').map(|part| part.trim().parse().ok()).collect();
        let Some(&[train, val, test]) = parts.as_deref() else { return Err(wrong("is no three numbers")) };
        let sum: f64 = train + val + test;
        let scale = if (sum - 1.0).abs() < 1e-6 { 1.0 } else { 100.0 };
        if !sum.is_finite() || (sum / scale - 1.0).abs() > 1e-6 {
            return Err(wrong("does not make up 100 percent"));
        }
        let share = |part: f64| (part / scale * WHOLE as f64).round() as u64;
        if [train, val, test].iter().any(|&part| part <= 0.0 || share(part) == 0) {
            return Err(wrong("leaves a fold empty"));
        }
        Ok(Self { val: share(val), test: share(test) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_in_percent_and_as_parts_of_one() {
        for (text, said) in
            [("80/10/10", "80/10/10"), ("0.8/0.1/0.1", "80/10/10"), ("66.5 / 13.5/20", "66.50/13.50/20")]
        {
            assert_eq!(text.parse::<Shares>().unwrap().to_string(), said);
        }
        assert_eq!("70/15/15".parse(), Ok(Shares::default()));
        assert_eq!(Shares::default().without_test(), "85/15");
        for (text, said) in [
            ("80/20", "three numbers"),
            ("a/b/c", "three numbers"),
            ("80/20/20", "100 percent"),
            ("100/0/0", "fold empty"),
            ("120/-10/-10", "fold empty"),
            ("NaN/1/1", "100 percent"),
        ] {
            let message = text.parse::<Shares>().unwrap_err();
            assert!(message.contains(said) && message.contains("70/15/15"), "{message}");
        }
    }

    #[test]
    fn counts_never_exceed_what_there_is() {
        for n in 0..40 {
            for shares in ["1/98/1", "1/49.5/49.5", "70/15/15"] {
                let (val, test) = shares.parse::<Shares>().unwrap().counts(n);
                assert!(val + test <= n, "{shares} of {n}");
            }
            assert_eq!(Shares::default().counts(n), ((15 * n + 50) / 100, (15 * n + 50) / 100));
        }
    }
}
