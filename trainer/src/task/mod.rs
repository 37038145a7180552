//! What there is to train, stage by stage: pretraining, heads, diffusion; and what is done with it.

mod checkup;
pub mod curriculum;
pub mod diffuse;
mod entrants;
pub mod evaluate;
pub mod finetune;
pub mod frozen;
mod frozen_stage;
pub mod latents;
mod pooling;
pub mod pretrain;

pub use pooling::check as check_pooling;

pub use crate::training::{Progress, Quiet, TaskError, TrainReport};
