//! Why tuning refuses or stops.

use serde::Serialize;

/// Why nothing was tuned, or tuning stopped.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// No component of that name.
    #[error("no component `{name}` is registered for tuning")]
    UnknownComponent {
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error("component `{name}` is registered for tuning already")]
    Taken {
        /// The name.
        name: String,
    },
    /// No knob of that name.
    #[error("there is no knob `{knob}`")]
    UnknownKnob {
        /// The name.
        knob: String,
    },
    /// Two knobs of one name.
    #[error("knob `{knob}` is declared twice")]
    DoubleKnob {
        /// The name.
        knob: String,
    },
    /// Bounds without room or a step without effect.
    #[error("knob `{knob}` cannot move: {min} to {max} in steps of {step}")]
    NoRoom {
        /// The name.
        knob: String,
        /// Lower bound.
        min: u64,
        /// Upper bound.
        max: u64,
        /// What a step does.
        step: String,
    },
    /// A value outside the knob's bounds.
    #[error("knob `{knob}` cannot be {value}: its bounds are {min} to {max}")]
    OutOfBounds {
        /// The name.
        knob: String,
        /// What was asked for.
        value: u64,
        /// Lower bound.
        min: u64,
        /// Upper bound.
        max: u64,
    },
    /// The component did not take a setting it had before, or its first one.
    #[error("the component refuses {parameters}: {reason}")]
    Refused {
        /// The setting.
        parameters: String,
        /// In the component's words.
        reason: String,
    },
    /// The setting in force could not be measured, so that nothing can be compared with it.
    #[error("the setting in force cannot be measured: {reason}")]
    NotMeasured {
        /// Why.
        reason: String,
    },
    /// A limit that no measurement can be compared with.
    #[error("`{field}` = {value} is no limit; write a number above 0")]
    BadLimit {
        /// The field.
        field: &'static str,
        /// What it says.
        value: f64,
    },
}
