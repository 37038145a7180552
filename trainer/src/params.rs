//! Flat parameter state: every parameter is a view of one buffer.
//!
//! Guarantee: the layout depends only on the declared parameters. Their groups lie one behind the other, the averaged
//! ones first, in each what decays before what does not; every parameter is padded to [`ALIGN`] elements. So what is
//! averaged is a prefix (the teacher's buffer has its layout), an all-reduce of all gradients is one call, and clip,
//! `AdamW` and EMA are passes over slices. The same seed gives the same initial values on any number of ranks.

use std::ops::{Index, Range};

use syncyte_sharding::philox::{Philox, Purpose};
use tch::{Device, Kind, Tensor};

/// Elements that every parameter's offset is a multiple of.
pub const ALIGN: usize = 64;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Normal with this standard deviation, truncated at two of them (ijepa's initialisation).
    TruncatedNormal(f64),
}

/// Parameters that are updated alike: a step gives each group its factor on the learning rate, 0 to freeze it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name, e.g. `encoder`.
    pub name: &'static str,
    /// Whether an exponential moving average of it is kept: the teacher.
    pub averaged: bool,
}

impl Group {
    /// A group without an average.
    pub const fn new(name: &'static str) -> Self {
        Self { name, averaged: false }
    }

    /// A group with an average.
    pub const fn averaged(name: &'static str) -> Self {
        Self { name, averaged: true }
    }
}

/// Name of a declared parameter, to look it up in a [`ParamSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamId(usize);

/// One declared parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Dotted name, as in the checkpoint.
    pub name: String,
    /// Shape.
    pub shape: Vec<i64>,
    /// Initial values.
    pub init: Init,
    /// Group.
    pub group: Group,
    /// Whether weight decay applies: matrices of layers only, no biases, norms, 1-D tensors or embeddings.
    pub decay: bool,
}

impl ParamSpec {
    fn numel(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }
}

/// A run of the flat buffer that shares group and weight decay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Elements of the flat buffer.
    pub range: Range<usize>,
    /// Group.
    pub group: Group,
    /// Whether weight decay applies.
    pub decay: bool,
}

/// Collects the parameters of a model while its modules are built.
#[derive(Debug, Default)]
pub struct Registry {
    specs: Vec<ParamSpec>,
}

impl Registry {
    /// Declares a parameter that weight decay applies to.
    pub fn weight(&mut self, group: Group, name: String, shape: &[i64], init: Init) -> ParamId {
        self.declare(ParamSpec { name, shape: shape.to_vec(), init, group, decay: true })
    }

    /// Declares a parameter without weight decay (bias, norm, embedding, position).
    pub fn plain(&mut self, group: Group, name: String, shape: &[i64], init: Init) -> ParamId {
        self.declare(ParamSpec { name, shape: shape.to_vec(), init, group, decay: false })
    }

    fn declare(&mut self, spec: ParamSpec) -> ParamId {
        self.specs.push(spec);
        ParamId(self.specs.len() - 1)
    }

    /// Fixes the layout.
    pub fn layout(self) -> Layout {
        Layout::new(self.specs)
    }
}

/// Where every parameter lies in the flat buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    specs: Vec<ParamSpec>,
    offsets: Vec<usize>,
    segments: Vec<Segment>,
    averaged_len: usize,
    len: usize,
}

impl Layout {
    fn new(specs: Vec<ParamSpec>) -> Self {
        let mut offsets = vec![0; specs.len()];
        let (mut segments, mut at, mut averaged_len) = (Vec::new(), 0, 0);
        for (group, decay) in groups(&specs).into_iter().flat_map(|group| [(group, true), (group, false)]) {
            let start = at;
            for (index, spec) in specs.iter().enumerate().filter(|(_, s)| s.group == group && s.decay == decay) {
                offsets[index] = at;
                at += spec.numel().next_multiple_of(ALIGN);
            }
            if at > start {
                segments.push(Segment { range: start..at, group, decay });
            }
            if group.averaged {
                averaged_len = at;
            }
        }
        Self { specs, offsets, segments, averaged_len, len: at }
    }

    /// Declared parameters, in order of declaration.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Elements of the flat buffer that a parameter takes, by its place in [`Layout::specs`], padding included.
    pub fn range(&self, param: usize) -> Range<usize> {
        let start = self.offsets[param];
        start..start + self.specs[param].numel().next_multiple_of(ALIGN)
    }

    /// Length of the flat buffer.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Length of the prefix of the flat buffer that is averaged.
    pub fn averaged_len(&self) -> usize {
        self.averaged_len
    }

    /// Elements of the flat buffer that a group takes.
    pub fn group(&self, group: Group) -> Range<usize> {
        let mut own = self.segments.iter().filter(|segment| segment.group == group).map(|segment| &segment.range);
        let start = own.next().map_or(0..0, Range::clone);
        start.start..own.next_back().map_or(start.end, |last| last.end)
    }

    /// Runs of the buffer that are updated alike.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Number of trainable parameters, padding excluded.
    pub fn n_parameters(&self) -> usize {
        self.specs.iter().map(ParamSpec::numel).sum()
    }

    /// What is averaged alone, with the layout of the prefix.
    #[must_use]
    pub fn averaged(&self) -> Self {
        Self::new(self.specs.iter().filter(|spec| spec.group.averaged).cloned().collect())
    }
}

/// The groups of parameters: the averaged ones first, else in the order of their declaration.
fn groups(specs: &[ParamSpec]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for spec in specs {
        if !groups.contains(&spec.group) {
            groups.push(spec.group);
        }
    }
    groups.sort_by_key(|group| !group.averaged);
    groups
}

/// The values of all parameters of a layout: a flat buffer and its views.
#[derive(Debug)]
pub struct ParamSet {
    layout: Layout,
    flat: Tensor,
    views: Vec<Tensor>,
    shadow: Option<Shadow>,
}

/// The parameters rounded to the kind that matrix products are computed in.
#[derive(Debug)]
struct Shadow {
    flat: Tensor,
    views: Vec<Tensor>,
}

/// One tensor a parameter, of its shape, over a flat buffer.
fn views(layout: &Layout, flat: &Tensor) -> Vec<Tensor> {
    layout
        .specs
        .iter()
        .zip(&layout.offsets)
        .map(|(spec, &at)| flat.narrow(0, at as i64, spec.numel() as i64).view(spec.shape.as_slice()).detach())
        .collect()
}

impl Index<ParamId> for ParamSet {
    type Output = Tensor;

    fn index(&self, id: ParamId) -> &Tensor {
        &self.views[id.0]
    }
}

impl ParamSet {
    /// All parameters at zero.
    pub fn zeros(layout: &Layout, device: Device) -> Self {
        let flat = Tensor::zeros([layout.len as i64], (Kind::Float, device));
        let views = views(layout, &flat);
        Self { layout: layout.clone(), flat, views, shadow: None }
    }

    /// Parameters at their initial values, a pure function of the seed and each parameter's name.
    pub fn initial(layout: &Layout, seed: u64, device: Device) -> Self {
        Self::initial_in(layout, seed, Tensor::zeros([layout.len as i64], (Kind::Float, device)))
    }

    /// As [`ParamSet::initial`], in a buffer of zeros of the layout's length.
    pub fn initial_in(layout: &Layout, seed: u64, flat: Tensor) -> Self {
        let views = views(layout, &flat);
        let mut set = Self { layout: layout.clone(), flat, views, shadow: None };
        for (view, spec) in set.views.iter_mut().zip(&layout.specs) {
            match spec.init {
                Init::Zeros => {}
                Init::Ones => {
                    let _ = view.fill_(1.0);
                }
                Init::TruncatedNormal(sd) => {
                    let values = truncated_normal(seed, &spec.name, spec.numel(), sd);
                    view.copy_(&Tensor::from_slice(&values).view(spec.shape.as_slice()));
                }
            }
        }
        set
    }

    /// Makes every parameter a leaf that collects its gradient in `flat`, a buffer of the layout's length.
    ///
    /// `backward` then adds into the buffer in place; zero it before each step.
    pub fn require_grad(&mut self, flat: &Tensor) {
        let grads = views(&self.layout, flat);
        for (view, grad) in self.views.iter_mut().zip(&grads) {
            *view = view.set_requires_grad(true);
            // The first backward creates the gradient tensor; from then on it is an alias of the flat buffer.
            (&*view * 0.0).sum(Kind::Float).backward();
            view.grad().set_data(grad);
        }
    }

    /// Keeps a copy of all parameters in `kind` beside them, for matrix products.
    pub fn add_shadow(&mut self, kind: Kind) {
        let flat = self.flat.detach().to_kind(kind);
        let views = views(&self.layout, &flat);
        self.shadow = Some(Shadow { flat, views });
    }

    /// A parameter in the kind that matrix products are computed in, where there is a shadow.
    pub fn shadow(&self, id: ParamId) -> Option<&Tensor> {
        self.shadow.as_ref().map(|shadow| &shadow.views[id.0])
    }

    /// The shadow's flat buffer.
    pub fn shadow_flat(&self) -> Option<&Tensor> {
        self.shadow.as_ref().map(|shadow| &shadow.flat)
    }

    /// Kind that matrix products are computed in.
    pub fn compute_kind(&self) -> Kind {
        self.shadow.as_ref().map_or(Kind::Float, |shadow| shadow.flat.kind())
    }

    /// Rounds the shadow from the parameters again.
    pub fn refresh_shadow(&self) {
        if let Some(shadow) = &self.shadow {
            tch::no_grad(|| shadow.flat.shallow_clone().copy_(&self.flat));
        }
    }

    /// The layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The flat buffer.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// The flat buffer in the memory of the processor: itself, or a copy of one on a GPU.
    pub fn on_host(&self) -> Tensor {
        self.flat.detach().to_device(Device::Cpu)
    }

    /// Names and values, in order of declaration.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.layout.specs.iter().map(|spec| spec.name.as_str()).zip(&self.views)
    }

    /// Copies values into the parameters; `source` has the averaged prefix or the whole layout.
    pub fn copy_prefix_from(&self, source: &Tensor) {
        let n = self.flat.size1().unwrap_or(0).min(source.size1().unwrap_or(0));
        tch::no_grad(|| self.flat.narrow(0, 0, n).copy_(&source.narrow(0, 0, n)));
        self.refresh_shadow();
    }
}

/// Draws from a normal truncated at ±2σ, keyed by the parameter's name so that order does not matter.
fn truncated_normal(seed: u64, name: &str, n: usize, sd: f64) -> Vec<f32> {
    let mut random = Philox::new(seed, Purpose::Init, name_key(name), 0);
    let mut draw = || loop {
        let z = random.normal();
        if z.abs() <= 2.0 {
            return (z * sd) as f32;
        }
    };
    (0..n).map(|_| draw()).collect()
}

/// FNV-1a of the name.
fn name_key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCODER: Group = Group::averaged("encoder");
    const HEAD: Group = Group::new("head");

    fn layout() -> Layout {
        let mut registry = Registry::default();
        registry.plain(HEAD, "head.bias".into(), &[3], Init::Zeros);
        registry.weight(ENCODER, "encoder.weight".into(), &[4, 5], Init::TruncatedNormal(0.02));
        registry.plain(ENCODER, "encoder.norm".into(), &[70], Init::Ones);
        registry.layout()
    }

    #[test]
    fn what_is_averaged_is_a_prefix_and_segments_cover_the_buffer_in_order() {
        let layout = layout();
        assert_eq!((layout.averaged_len(), layout.len(), layout.n_parameters()), (64 + 128, 64 + 128 + 64, 93));
        let ranges: Vec<_> = layout.segments().iter().map(|s| (s.range.clone(), s.group, s.decay)).collect();
        assert_eq!(ranges, [(0..64, ENCODER, true), (64..192, ENCODER, false), (192..256, HEAD, false)]);
        assert_eq!(layout.averaged().len(), layout.averaged_len());
        assert_eq!((layout.group(ENCODER), layout.group(HEAD)), (0..192, 192..256));
        assert!(layout.group(Group::new("none")).is_empty());
    }

    #[test]
    fn views_follow_the_flat_buffer_and_gradients_gather_in_one() {
        let layout = layout();
        let mut set = ParamSet::initial(&layout, 7, Device::Cpu);
        let grads = set.flat().zeros_like();
        set.require_grad(&grads);
        let weight = &set.views[1];
        for _ in 0..2 {
            (weight * 2.0).sum(Kind::Float).backward();
        }
        assert_eq!(grads.double_value(&[0]), 4.0);
        assert_eq!(grads.narrow(0, 0, 64).sum(Kind::Float).double_value(&[]), 80.0);
        let _ = tch::no_grad(|| set.flat().shallow_clone().fill_(3.0));
        assert_eq!(set.views[1].double_value(&[3, 4]), 3.0);
    }

    #[test]
    fn same_seed_gives_same_values_whatever_else_is_declared() {
        let one = ParamSet::initial(&layout(), 7, Device::Cpu);
        let mut registry = Registry::default();
        let id = registry.weight(ENCODER, "encoder.weight".into(), &[4, 5], Init::TruncatedNormal(0.02));
        let other = ParamSet::initial(&registry.layout(), 7, Device::Cpu);
        assert_eq!(one.views[1], other[id]);
        assert!(one.views[1].abs().max().double_value(&[]) <= 0.04);
    }
}
