//! The state of a cell: how active its modules are, where it stands in its cycle, whether it escaped its guide.
//!
//! The activity of a module is a standard normal number that moves the genes of its program, so that the genes of a
//! module vary together in control cells. A gene of the cycle moves by A cos(θ − θ_g), with θ even over the turn.
//!
//! Guarantee: a state is drawn from the head of the cell's own stream, so it can be had without the cell's counts.

use std::f64::consts::TAU;

use crate::philox::Philox;

use super::SynthError;
use super::check::require;
use super::config::SynthConfig;
use super::panel::Panel;
use super::program::Program;
use super::stream::{Part, between, choose, normal, stream};

/// Where in the turn S and G2/M begin.
const PHASES: [f64; 2] = [0.55, 0.80];
/// Names of the phases.
pub(super) const PHASE_NAMES: [&str; 3] = ["G1", "S", "G2M"];
/// Largest amplitude of a module's activity in natural log expression.
const MOST_AMPLITUDE: f64 = 2.0;

/// The state of one cell.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Standard normal: the cell's library.
    pub(super) library: f64,
    /// Whether the cell looks like a control whatever its guide.
    pub(super) escaped: bool,
    /// Angle in the cycle.
    pub(super) angle: f64,
    /// Activity of every module.
    pub(super) activity: Vec<f32>,
}

impl State {
    /// Draws a state into `self`, keeping its buffers.
    pub(super) fn draw(&mut self, modules: usize, escape: f32, random: &mut Philox) {
        self.escaped = random.next_f32() < escape;
        self.angle = TAU * random.next_f64();
        self.library = normal(random);
        self.activity.clear();
        self.activity.extend((0..modules).map(|_| normal(random) as f32));
    }

    /// Place of the phase in [`PHASE_NAMES`].
    pub(super) fn phase(&self) -> usize {
        PHASES.iter().filter(|&&start| self.angle >= start * TAU).count()
    }
}

/// What states do to genes.
pub(super) struct StateModel {
    amplitude: f64,
    /// Genes of the cycle and the cosine and sine parts of their amplitudes.
    cycle: Vec<(u32, [f32; 2])>,
}

impl StateModel {
    /// # Errors
    /// When no amplitude gives the co-expression that is asked for.
    pub(super) fn plant(config: &SynthConfig, panel: &Panel) -> Result<Self, SynthError> {
        let cycle = if config.world.has_cycle() { cycle(config, panel) } else { Vec::new() };
        let mut model = Self { amplitude: MOST_AMPLITUDE, cycle };
        let most = model.coexpression(panel);
        require(config.coexpression <= most, || {
            format!(
                "coexpression is {}, but a gene follows {:.1} modules and no more than {most:.2} can be reached: lower \
                 it or program_density",
                config.coexpression,
                config.program_density * config.modules as f64
            )
        })?;
        let (mut least, mut largest) = (0.0, MOST_AMPLITUDE);
        for _ in 0..60 {
            model.amplitude = f64::midpoint(least, largest);
            let side = if model.coexpression(panel) < config.coexpression { &mut least } else { &mut largest };
            *side = model.amplitude;
        }
        Ok(model)
    }

    /// Moves the log expression of a cell's genes.
    pub(super) fn add_to(&self, panel: &Panel, state: &State, log_rate: &mut [f32]) {
        for (program, activity) in panel.programs.iter().zip(&state.activity) {
            program.add_to(log_rate, self.amplitude as f32 * activity);
        }
        let (sin, cos) = state.angle.sin_cos();
        for &(gene, [along, across]) in &self.cycle {
            log_rate[gene as usize] += along * cos as f32 + across * sin as f32;
        }
    }

    /// Variance of a gene's log expression that the activities bring, gene by gene.
    pub(super) fn activity_variance(&self, panel: &Panel) -> Vec<f64> {
        let mut variance = vec![0.0; panel.genes.len()];
        for (gene, weight) in panel.programs.iter().flat_map(Program::iter) {
            variance[gene] += (self.amplitude * f64::from(weight)).powi(2);
        }
        variance
    }

    /// Amplitude of a gene in the cycle, gene by gene.
    pub(super) fn cycle_amplitude(&self, panel: &Panel) -> Vec<f64> {
        let mut amplitude = vec![0.0; panel.genes.len()];
        for &(gene, [along, across]) in &self.cycle {
            amplitude[gene as usize] = f64::from(along.hypot(across));
        }
        amplitude
    }

    /// Mean over the responders of the share of the variance of a gene's log expression that its home module's
    /// activity explains; the rest is other modules, the cycle and the gamma noise of the dispersion, whose log has
    /// variance ψ′(1/φ).
    fn coexpression(&self, panel: &Panel) -> f64 {
        let (states, cycle) = (self.activity_variance(panel), self.cycle_amplitude(panel));
        let mut home = vec![0.0; panel.genes.len()];
        for (module, program) in (0..).zip(&panel.programs) {
            for (gene, weight) in program.iter().filter(|&(gene, _)| panel.module[gene] == module) {
                home[gene] = (self.amplitude * f64::from(weight)).powi(2);
            }
        }
        let explained = panel.responders.iter().map(|&gene| {
            let gene = gene as usize;
            let rest = 0.5 * cycle[gene] * cycle[gene] + trigamma(1.0 / panel.dispersion[gene]);
            home[gene] / (states[gene] + rest)
        });
        explained.sum::<f64>() / panel.responders.len() as f64
    }
}

fn cycle(config: &SynthConfig, panel: &Panel) -> Vec<(u32, [f32; 2])> {
    let mut random = stream(config.seed, Part::Cycle, 0);
    let count = (config.cycle.gene_share * panel.responders.len() as f64).round() as usize;
    let mut genes = choose(&mut random, &panel.responders, count);
    genes.sort_unstable();
    let mut loading = || {
        let amplitude = between(&mut random, config.cycle.amplitude_least, config.cycle.amplitude_most);
        let (sin, cos) = (TAU * random.next_f64()).sin_cos();
        [(amplitude * cos) as f32, (amplitude * sin) as f32]
    };
    genes.into_iter().map(|gene| (gene, loading())).collect()
}

/// ψ′(x), the derivative of the digamma function, for x > 0: recurrence up to 6, then the asymptotic series
/// (Abramowitz and Stegun 6.4.6 and 6.4.12).
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 6.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = 1.0 / 6.0 + square * (-1.0 / 30.0 + square * (1.0 / 42.0 - square / 30.0));
    sum + 1.0 / x + 0.5 * square + series * square / x
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::{PHASE_NAMES, State, StateModel, trigamma};
    use crate::philox::{Philox, Purpose};
    use crate::synth::panel::Panel;
    use crate::synth::{Preset, SynthConfig, World};

    #[test]
    fn trigamma_has_its_textbook_values() {
        for (x, value) in
            [(1.0, PI * PI / 6.0), (0.5, PI * PI / 2.0), (2.0, PI * PI / 6.0 - 1.0), (5.0, 0.221_322_955_737_115_3)]
        {
            assert!((trigamma(x) - value).abs() < 1e-8, "{x}: {}", trigamma(x));
        }
    }

    #[test]
    fn the_amplitude_gives_the_coexpression_that_is_asked_for() {
        for (world, asked) in [(World::W2, 0.0), (World::W2, 0.1), (World::W3, 0.2), (World::W4, 0.3)] {
            let config = SynthConfig { coexpression: asked, ..SynthConfig::preset(Preset::Demo, world, 1) };
            let panel = Panel::plant(&config);
            let model = StateModel::plant(&config, &panel).unwrap();
            assert!((model.coexpression(&panel) - asked).abs() < 1e-9);
            assert_eq!(asked > 0.0, model.amplitude > 0.01);
        }
        let config = SynthConfig { coexpression: 0.95, ..SynthConfig::preset(Preset::Demo, World::W2, 1) };
        let error = StateModel::plant(&config, &Panel::plant(&config)).err().unwrap().to_string();
        assert!(error.contains("coexpression is 0.95") && error.contains("1.6 modules"), "{error}");
    }

    #[test]
    fn phases_have_their_shares_and_cells_escape_as_often_as_asked() {
        let (mut phases, mut escaped) = ([0.0; PHASE_NAMES.len()], 0.0);
        let mut state = State::default();
        for cell in 0..20_000 {
            state.draw(3, 0.3, &mut Philox::new(1, Purpose::Trial, 0, cell));
            phases[state.phase()] += 1.0 / 20_000.0;
            escaped += f64::from(u8::from(state.escaped)) / 20_000.0;
        }
        for (found, planted) in phases.iter().zip([0.55, 0.25, 0.20]) {
            assert!(f64::abs(found - planted) < 0.012, "{phases:?}");
        }
        assert!(f64::abs(escaped - 0.3) < 0.012, "{escaped}");
    }

    #[test]
    fn cycle_genes_swing_by_their_amplitude_and_the_others_stay() {
        let config = SynthConfig::preset(Preset::Demo, World::W3, 1);
        let panel = Panel::plant(&config);
        let model = StateModel::plant(&config, &panel).unwrap();
        let amplitude = model.cycle_amplitude(&panel);
        assert_eq!(amplitude.iter().filter(|&&amplitude| amplitude > 0.0).count(), 160);
        let mut largest = vec![0.0_f32; config.genes];
        for angle in 0..360 {
            let mut rates = vec![0.0; config.genes];
            let state = State { angle: f64::from(angle).to_radians(), ..State::default() };
            model.add_to(&panel, &state, &mut rates);
            largest.iter_mut().zip(&rates).for_each(|(largest, rate)| *largest = largest.max(rate.abs()));
        }
        for (largest, amplitude) in largest.iter().zip(&amplitude) {
            assert!(
                (f64::from(*largest) - amplitude).abs() < 1e-3
                    && (*amplitude == 0.0 || (0.25..=0.5).contains(amplitude))
            );
        }
    }
}
