//! Cells as tensors, in one of the forms that encoders read.

use tch::{Device, Kind, Tensor};

use crate::device::moved;

/// Which form an encoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Log-normalised expression of all genes.
    Dense,
}

/// Cells in some form.
#[derive(Debug)]
pub enum View {
    /// Log-normalised expression `[B, G]`.
    Dense(Tensor),
}

impl View {
    /// Its form.
    pub fn input(&self) -> Input {
        match self {
            Self::Dense(_) => Input::Dense,
        }
    }

    /// Number of cells.
    pub fn n_cells(&self) -> i64 {
        match self {
            Self::Dense(x) => x.size()[0],
        }
    }

    /// The same on a device.
    #[must_use]
    pub fn on(&self, device: Device) -> Self {
        match self {
            Self::Dense(x) => Self::Dense(moved(x, device)),
        }
    }
}

/// Cells in a form, from their log-normalised expression `[B, G]`.
pub fn of_expression(input: Input, x: &Tensor) -> View {
    match input {
        Input::Dense => View::Dense(x.shallow_clone()),
    }
}

/// States of cells: a grid of tokens each, or one vector each.
#[derive(Debug)]
pub enum State {
    /// Tokens `[B, T, d]`; where `mask [B, T]` is given, only those where it is true are there.
    Tokens {
        /// The tokens.
        tokens: Tensor,
        /// Which of them are there.
        mask: Option<Tensor>,
    },
    /// One vector a cell, `[B, d]`.
    Pooled(Tensor),
}

impl State {
    /// Tokens that are all there.
    pub fn tokens(tokens: Tensor) -> Self {
        Self::Tokens { tokens, mask: None }
    }

    /// Whether there is one vector a cell.
    pub fn is_pooled(&self) -> bool {
        matches!(self, Self::Pooled(_))
    }

    /// The numbers, `[B, T, d]` or `[B, d]`.
    pub fn values(&self) -> &Tensor {
        match self {
            Self::Tokens { tokens, .. } => tokens,
            Self::Pooled(pooled) => pooled,
        }
    }

    /// Tokens `[B, T, d]`, of which a vector is one, and which of them are there.
    pub fn as_tokens(&self) -> (Tensor, Option<Tensor>) {
        match self {
            Self::Tokens { tokens, mask } => (tokens.shallow_clone(), mask.as_ref().map(Tensor::shallow_clone)),
            Self::Pooled(pooled) => (pooled.unsqueeze(1), None),
        }
    }

    /// The same with other numbers of the same shape.
    #[must_use]
    pub fn with(&self, values: Tensor) -> Self {
        match self {
            Self::Tokens { mask, .. } => {
                Self::Tokens { tokens: values, mask: mask.as_ref().map(Tensor::shallow_clone) }
            }
            Self::Pooled(_) => Self::Pooled(values),
        }
    }

    /// One vector a cell, in f32 `[B, d]`: the mean over its tokens.
    pub fn pooled(&self) -> Tensor {
        match self {
            Self::Pooled(pooled) => pooled.to_kind(Kind::Float),
            Self::Tokens { tokens, mask: None } => mean_over_tokens(tokens),
            Self::Tokens { tokens, mask: Some(mask) } => {
                let there = mask.to_kind(Kind::Float).unsqueeze(2);
                let sum =
                    (tokens.to_kind(Kind::Float) * &there).sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
                sum / there.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float).clamp_min(1.0)
            }
        }
    }

    /// The same as one vector a cell.
    #[must_use]
    pub fn to_pooled(&self) -> Self {
        Self::Pooled(self.pooled())
    }
}

/// Mean over the token axis in f32: `[batch, tokens, width] → [batch, width]`.
fn mean_over_tokens(tokens: &Tensor) -> Tensor {
    tokens.mean_dim([1_i64].as_slice(), false, Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_not_there_do_not_count() {
        let tokens = Tensor::from_slice(&[1.0_f32, 3.0, 50.0, 4.0, 60.0, 70.0]).view([2, 3, 1]);
        let mask = Tensor::from_slice(&[true, true, false, true, false, false]).view([2, 3]);
        let state = State::Tokens { tokens: tokens.shallow_clone(), mask: Some(mask) };
        assert_eq!(Vec::<f32>::try_from(state.pooled().view([-1])).unwrap(), [2.0, 4.0]);
        let none = State::Tokens {
            tokens: tokens.shallow_clone(),
            mask: Some(Tensor::zeros([2, 3], (Kind::Bool, Device::Cpu))),
        };
        assert_eq!(none.pooled().abs().max().double_value(&[]), 0.0, "no token at all is zero, and finite");
        assert_eq!(Vec::<f32>::try_from(State::tokens(tokens).pooled().view([-1])).unwrap()[0], 18.0);
    }
}
