//! Cells as tensors, in one of the forms that encoders read.

use tch::{Device, Kind, Tensor};

use crate::device::moved;

/// Which form an encoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Log-normalised expression of all genes.
    Dense,
    /// The expressed genes of each cell, with their log-normalised values.
    Tokens {
        /// Genes of a cell in training at most, drawn at random where there are more; 0 for all.
        most: usize,
    },
}

/// Cells in some form.
#[derive(Debug)]
pub enum View {
    /// Log-normalised expression `[B, G]`.
    Dense(Tensor),
    /// Expressed genes, as many a cell as it has.
    Tokens(Tokens),
}

/// Expressed genes of cells, padded at the end to those of the cell that has most.
#[derive(Debug)]
pub struct Tokens {
    /// Places of the genes in the vocabulary `[B, N]`, 0 in the padding.
    pub genes: Tensor,
    /// Log-normalised values `[B, N]`, 0 in the padding.
    pub values: Tensor,
    /// Which of them are there `[B, N]`.
    pub mask: Tensor,
}

impl Tokens {
    /// Of cells with their expressed genes and values, in the order given.
    pub fn of(cells: &[(Vec<u32>, Vec<f32>)]) -> Self {
        let longest = cells.iter().map(|(genes, _)| genes.len()).max().unwrap_or(0);
        let n = cells.len() * longest;
        let (mut genes, mut values, mut mask) = (vec![0_i64; n], vec![0.0_f32; n], vec![false; n]);
        for (row, (own_genes, own_values)) in cells.iter().enumerate() {
            for (at, (&gene, &value)) in own_genes.iter().zip(own_values).enumerate() {
                let place = row * longest + at;
                (genes[place], values[place], mask[place]) = (i64::from(gene), value, true);
            }
        }
        let shape = [cells.len() as i64, longest as i64];
        Self {
            genes: Tensor::from_slice(&genes).view(shape),
            values: Tensor::from_slice(&values).view(shape),
            mask: Tensor::from_slice(&mask).view(shape),
        }
    }
}

impl View {
    /// Its form.
    pub fn input(&self) -> Input {
        match self {
            Self::Dense(_) => Input::Dense,
            Self::Tokens(_) => Input::Tokens { most: 0 },
        }
    }

    /// Number of cells.
    pub fn n_cells(&self) -> i64 {
        match self {
            Self::Dense(x) => x.size()[0],
            Self::Tokens(tokens) => tokens.mask.size()[0],
        }
    }

    /// The same on a device.
    #[must_use]
    pub fn on(&self, device: Device) -> Self {
        match self {
            Self::Dense(x) => Self::Dense(moved(x, device)),
            Self::Tokens(tokens) => Self::Tokens(Tokens {
                genes: moved(&tokens.genes, device),
                values: moved(&tokens.values, device),
                mask: moved(&tokens.mask, device),
            }),
        }
    }
}

/// Cells in a form, from their log-normalised expression `[B, G]`.
pub fn of_expression(input: Input, x: &Tensor) -> View {
    match input {
        Input::Dense => View::Dense(x.shallow_clone()),
        Input::Tokens { .. } => {
            let n = x.size()[1].max(1) as usize;
            let values = Vec::<f32>::try_from(x.contiguous().view([-1])).unwrap_or_default();
            let cells: Vec<_> = values.chunks_exact(n).map(expressed).collect();
            View::Tokens(Tokens::of(&cells))
        }
    }
}

/// Genes of a cell that are expressed, with their values.
pub(crate) fn expressed(row: &[f32]) -> (Vec<u32>, Vec<f32>) {
    row.iter().enumerate().filter(|(_, value)| **value != 0.0).map(|(gene, &value)| (gene as u32, value)).unzip()
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

    /// Whether a token of one cell has no counterpart in another, so that only pooled states can be compared.
    pub fn is_ragged(&self) -> bool {
        matches!(self, Self::Tokens { mask: Some(_), .. })
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
