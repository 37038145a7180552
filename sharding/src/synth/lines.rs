//! What a cell line does differently: a program of its own beside every module's common one, and modules that it
//! lacks (W5). One line more than the store has contexts is that of the second screen.
//!
//! Guarantee: below W5 the lines of the store are alike in their effects.

use serde::{Deserialize, Serialize};

use super::config::SynthConfig;
use super::panel::Panel;
use super::program::Program;
use super::stream::{Part, between, stream};

/// What was planted for a context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Name of the context.
    pub name: String,
    /// Weight κ of its own program of a module against the module's common one.
    pub kappa: f32,
    /// Modules that it lacks.
    pub lacks: Vec<u32>,
}

/// All lines: those of the store, then that of the second screen.
pub(super) struct Lines {
    lines: Vec<Line>,
    /// Own program of every module: line × module; empty for lines of no weight.
    own: Vec<Vec<Program>>,
}

impl Lines {
    pub(super) fn plant(config: &SynthConfig, panel: &Panel) -> Self {
        let specific = config.world.has_specific_effects();
        let mut lines: Vec<Line> = (1..=config.contexts)
            .map(|line| Line { name: format!("line{line}"), kappa: 0.0, lacks: Vec::new() })
            .collect();
        if specific {
            let mut random = stream(config.seed, Part::Line, 0);
            for line in &mut lines {
                line.kappa = between(&mut random, config.lines.kappa_least, config.lines.kappa_most) as f32;
            }
            withhold(config, &mut lines);
        }
        lines.push(Line { name: "second_screen".into(), kappa: config.screen.kappa as f32, lacks: Vec::new() });
        let own = lines.iter().enumerate().map(|(at, line)| own_programs(config, panel, at, line.kappa)).collect();
        Self { lines, own }
    }

    /// The lines of the store.
    pub(super) fn in_store(&self) -> &[Line] {
        &self.lines[..self.lines.len() - 1]
    }

    /// The line of the second screen.
    pub(super) fn of_screen(&self) -> usize {
        self.lines.len() - 1
    }

    /// Adds `scale` times what a line does through a module.
    pub(super) fn add_module(&self, panel: &Panel, line: usize, module: usize, target: &mut [f32], scale: f32) {
        if self.lines[line].lacks.contains(&(module as u32)) {
            return;
        }
        panel.programs[module].add_to(target, scale);
        if let Some(own) = self.own[line].get(module) {
            own.add_to(target, scale * self.lines[line].kappa);
        }
    }
}

/// Takes the selective modules from some of the lines, but neither from all nor from none.
fn withhold(config: &SynthConfig, lines: &mut [Line]) {
    let selective = (config.lines.selective_share * config.modules as f64).round() as usize;
    let mut random = stream(config.seed, Part::Line, 1);
    let mut modules: Vec<u32> = (0..config.modules as u32).collect();
    random.shuffle(&mut modules);
    for &module in &modules[..selective] {
        let mut order: Vec<usize> = (0..lines.len()).collect();
        random.shuffle(&mut order);
        let without = 1 + random.below(lines.len() as u64 - 1) as usize;
        for &line in &order[..without] {
            lines[line].lacks.push(module);
        }
    }
    for line in lines {
        line.lacks.sort_unstable();
    }
}

fn own_programs(config: &SynthConfig, panel: &Panel, line: usize, kappa: f32) -> Vec<Program> {
    if kappa == 0.0 {
        return Vec::new();
    }
    (0..config.modules)
        .map(|module| {
            let mut random = stream(config.seed, Part::Line, 2 + line * config.modules + module);
            Program::random(&mut random, &panel.responders, config.program_size())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Lines;
    use crate::synth::panel::Panel;
    use crate::synth::{Preset, SynthConfig, World};

    fn plant(world: World) -> (SynthConfig, Panel, Lines) {
        let config = SynthConfig { contexts: 3, genes: 600, ..SynthConfig::preset(Preset::Demo, world, 2) };
        let panel = Panel::plant(&config);
        let lines = Lines::plant(&config, &panel);
        (config, panel, lines)
    }

    fn effect(planted: &(SynthConfig, Panel, Lines), line: usize, module: usize) -> Vec<f32> {
        let mut effect = vec![0.0; 600];
        planted.2.add_module(&planted.1, line, module, &mut effect, 1.0);
        effect
    }

    #[test]
    fn every_selective_module_is_in_some_lines_and_not_in_others() {
        let planted = plant(World::W5);
        let without: Vec<usize> = (0..20)
            .map(|module| planted.2.in_store().iter().filter(|line| line.lacks.contains(&module)).count())
            .collect();
        assert_eq!(without.iter().filter(|&&lines| lines > 0).count(), 4, "a fifth of the modules: {without:?}");
        assert!(without.iter().all(|&lines| lines < 3));
        assert!(planted.2.in_store().iter().all(|line| (0.2..=0.5).contains(&line.kappa)));
        let module = without.iter().position(|&lines| lines > 0).unwrap();
        let lacking = planted.2.in_store().iter().position(|line| line.lacks.contains(&(module as u32))).unwrap();
        assert!(effect(&planted, lacking, module).iter().all(|&change| change == 0.0));
    }

    #[test]
    fn lines_resemble_each_other_as_their_weights_say_and_are_alike_below_w5() {
        let planted = plant(World::W5);
        let kept: Vec<usize> = (0..20)
            .filter(|module| planted.2.in_store().iter().all(|line| !line.lacks.contains(module as &_)))
            .map(|m: u32| m as usize)
            .collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let (mut shared, mut powers) = (0.0, [0.0, 0.0]);
        for &module in &kept {
            let (first, second) = (effect(&planted, 0, module), effect(&planted, 1, module));
            shared += dot(&first, &second);
            powers[0] += dot(&first, &first);
            powers[1] += dot(&second, &second);
        }
        // Own programs are independent, with weights of variance 1 against about 0.95 of a module's program.
        let [a, b] = [0, 1].map(|line| 1.0 + f64::from(planted.2.in_store()[line].kappa).powi(2) / 0.95);
        let (found, expected) = (shared / (powers[0] * powers[1]).sqrt(), 1.0 / (a * b).sqrt());
        assert!((found - expected).abs() < 0.04, "correlation {found}, planted {expected}");
        let alike = plant(World::W4);
        assert_eq!(effect(&alike, 0, 3), effect(&alike, 2, 3));
        assert_ne!(effect(&alike, 0, 3), effect(&alike, alike.2.of_screen(), 3));
    }
}
