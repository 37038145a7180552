//! Attention written out in double precision, one number after another.

use super::*;

/// What attention reads, and the gradient of its result, without gaps: `[batch, tokens, heads, width]`.
pub(super) struct Numbers {
    pub(super) q: Vec<f64>,
    pub(super) k: Vec<f64>,
    pub(super) v: Vec<f64>,
    pub(super) grad_out: Vec<f64>,
    pub(super) mask: Option<Vec<bool>>,
}

/// `out` and `lse`, or the gradients of `q`, `k` and `v`.
pub(super) struct Forward {
    pub(super) out: Vec<f64>,
    pub(super) lse: Vec<f64>,
}

impl Numbers {
    fn attends(&self, shape: Shape, element: usize, key: usize) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask[element * shape.keys + key])
    }

    /// Scores of one query, −∞ where the mask excludes the key; and their log-sum-exp.
    fn scores(&self, shape: Shape, element: usize, head: usize, query: usize) -> (Vec<f64>, f64) {
        let score = |key| {
            let q = place(shape, shape.queries, element, query, head);
            let k = place(shape, shape.keys, element, key, head);
            let dot: f64 = (0..shape.width).map(|column| self.q[q + column] * self.k[k + column]).sum();
            if self.attends(shape, element, key) { dot / (shape.width as f64).sqrt() } else { f64::NEG_INFINITY }
        };
        let scores: Vec<f64> = (0..shape.keys).map(score).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return (scores, largest);
        }
        let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
        (scores, largest + sum.ln())
    }

    /// `out = softmax(Q·Kᵀ / √width)·V`.
    pub(super) fn forward(&self, shape: Shape) -> Forward {
        let mut out = vec![0.0; shape.batch * shape.queries * shape.heads * shape.width];
        let mut lse = vec![f64::NEG_INFINITY; shape.batch * shape.heads * shape.queries];
        each_query(shape, |element, head, query| {
            let (scores, sum) = self.scores(shape, element, head, query);
            lse[(element * shape.heads + head) * shape.queries + query] = sum;
            for key in (0..shape.keys).filter(|&key| self.attends(shape, element, key)) {
                let weight = (scores[key] - sum).exp();
                for column in 0..shape.width {
                    out[place(shape, shape.queries, element, query, head) + column] +=
                        weight * self.v[place(shape, shape.keys, element, key, head) + column];
                }
            }
        });
        Forward { out, lse }
    }

    /// With `p` the softmax and `dp = dout·v`: `dv += p·dout`, `ds = p·(dp − Σ p·dp) / √width`, `dq += ds·k`,
    /// `dk += ds·q`.
    pub(super) fn backward(&self, shape: Shape) -> [Vec<f64>; 3] {
        let mut grads = [&self.q, &self.k, &self.v].map(|numbers| vec![0.0; numbers.len()]);
        let [dq, dk, dv] = &mut grads;
        each_query(shape, |element, head, query| {
            let (scores, sum) = self.scores(shape, element, head, query);
            let keys: Vec<usize> = (0..shape.keys).filter(|&key| self.attends(shape, element, key)).collect();
            let q = place(shape, shape.queries, element, query, head);
            let k = |key| place(shape, shape.keys, element, key, head);
            let p = |key: usize| (scores[key] - sum).exp();
            let dp = |key| -> f64 {
                (0..shape.width).map(|column| self.grad_out[q + column] * self.v[k(key) + column]).sum()
            };
            let mean: f64 = keys.iter().map(|&key| p(key) * dp(key)).sum();
            for &key in &keys {
                let dp: f64 = dp(key);
                let ds = p(key) * (dp - mean) / (shape.width as f64).sqrt();
                for column in 0..shape.width {
                    dv[k(key) + column] += p(key) * self.grad_out[q + column];
                    dq[q + column] += ds * self.k[k(key) + column];
                    dk[k(key) + column] += ds * self.q[q + column];
                }
            }
        });
        grads
    }
}

/// First number of a head of a token.
fn place(shape: Shape, tokens: usize, element: usize, token: usize, head: usize) -> usize {
    ((element * tokens + token) * shape.heads + head) * shape.width
}

fn each_query(shape: Shape, mut work: impl FnMut(usize, usize, usize)) {
    for element in 0..shape.batch {
        for head in 0..shape.heads {
            (0..shape.queries).for_each(|query| work(element, head, query));
        }
    }
}
