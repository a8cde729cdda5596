//! `guard top`: every session live.
//!
//! Sources hand events to the [`model`], which knows neither them nor a screen; [`views`] paint what it knows; [`app`]
//! is what the person has chosen to see. Text from events is not to be trusted: see [`text`].

pub mod app;
pub mod filter;
pub mod keys;
pub mod look;
pub mod model;
mod own;
pub mod rule;
pub mod run;
pub mod seen;
pub mod snapshot;
pub mod sources;
mod terminal;
pub mod text;
pub mod views;
pub mod when;
