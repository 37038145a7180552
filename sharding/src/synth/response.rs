//! What conditions do to genes, in natural log expression: sums of sparse parts.
//!
//! Holding parts instead of a dense matrix keeps a genome-wide screen small, lets every part follow its own clock,
//! and lets a line replace what a module does.
//!
//! Guarantee: a condition is the same in every line below W5.

use std::sync::Arc;

use super::course::{Clock, Pace};
use super::lines::Lines;
use super::panel::Panel;
use super::program::Program;

/// Where a part's genes and weights are.
#[derive(Clone)]
pub(super) enum Source {
    /// A module, as the line has it.
    Module(usize),
    /// The axis that all perturbations share.
    Shared,
    /// Of the condition itself.
    Own(Arc<Program>),
    /// Of the condition itself, line by line of the store.
    PerLine(Arc<Vec<Program>>),
}

/// One part of an effect.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) source: Source,
    pub(super) weight: f32,
    pub(super) clock: Clock,
}

impl Piece {
    pub(super) fn own(program: Program, weight: f64, clock: Clock) -> Self {
        Self { source: Source::Own(Arc::new(program)), weight: weight as f32, clock }
    }

    /// The same part, stretched.
    pub(super) fn stretched(&self, factor: f64) -> Self {
        Self { weight: self.weight * factor as f32, ..self.clone() }
    }
}

/// Adds an effect to a dense vector: `amplitude` of the parts as a line has them, each as far as its pace.
pub(super) fn add_pieces(
    pieces: &[Piece],
    (panel, lines): (&Panel, &Lines),
    line: usize,
    (amplitude, pace): (f32, Pace<'_>),
    target: &mut [f32],
) {
    for piece in pieces {
        let scale = amplitude * piece.weight * pace.of(piece.clock);
        match &piece.source {
            Source::Module(module) => lines.add_module(panel, line, *module, target, scale),
            Source::Shared => panel.shared.add_to(target, scale),
            Source::Own(program) => program.add_to(target, scale),
            Source::PerLine(programs) => programs[line].add_to(target, scale),
        }
    }
}
