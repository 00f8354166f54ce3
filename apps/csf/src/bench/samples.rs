//! The raw samples as a file: every side of every row, as JSON or CSV.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::row::Row;

/// Form of the file, by its ending.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Json,
    Csv,
}

impl Form {
    /// The form that this file's ending names.
    ///
    /// # Errors
    /// In words, when it is neither `.json` nor `.csv`.
    pub(crate) fn of(path: &Path) -> Result<Self, String> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            _ => Err(format!("--samples {}: name a file that ends in .json or .csv", path.display())),
        }
    }

    /// Writes all samples to `path`.
    ///
    /// # Errors
    /// In words, when the file cannot be written.
    pub(crate) fn write(self, path: &Path, machine: &Value, rows: &[Row]) -> Result<(), String> {
        let text = match self {
            Self::Json => format!("{}\n", as_json(machine, rows)),
            Self::Csv => as_csv(rows),
        };
        std::fs::write(path, text)
            .map_err(|error| format!("the samples cannot be written to {}: {error}", path.display()))
    }
}

fn as_json(machine: &Value, rows: &[Row]) -> Value {
    let rows = rows.iter().map(|row| {
        let sides = row.sides().map(|(side, round, samples)| json!({ "side": side, "round": round, "samples": samples }));
        json!({ "id": row.spec.id, "unit": row.unit().map(|unit| unit.to_string()), "sides": sides.collect::<Vec<_>>() })
    });
    json!({ "machine": machine, "rows": rows.collect::<Vec<_>>() })
}

fn as_csv(rows: &[Row]) -> String {
    let mut text = "row,side,round,sample,value,unit\n".to_owned();
    for row in rows {
        let unit = row.unit().map(|unit| unit.to_string()).unwrap_or_default();
        for (side, round, samples) in row.sides() {
            for (sample, value) in samples.iter().enumerate() {
                // Names of sides have commas.
                let _ = writeln!(text, "{},\"{side}\",{round},{sample},{value},{unit}", row.spec.id);
            }
        }
    }
    text
}
