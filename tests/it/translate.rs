//! Objects in, configuration and verdicts out: golden pairs and properties.

mod golden;
mod lookup;
mod objects;
mod properties;
mod sequence;
mod strategy;
mod view;
