//! The filter's figures on recorded flights: one line each, beside two baselines, and its drift when fixes fail.
//!
//! `cargo run --release -p csf-avionics --example navigation_figures -- FILE… [--seeds N] [--set OPTION=VALUE]…`,
//! where a file is a PX4 `*.ulg` or an ANSFL `*_GT.csv.gz`.
#![allow(clippy::print_stdout, reason = "its output is its product")]

use std::path::Path;

use csf_avionics::eskf::Config;
use csf_avionics::evaluate::{FIRST_OUTAGE_S, FixOptions, fly, monte_carlo, outages};
use csf_avionics::recording::{Recording, SourceKind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut files, mut seeds) = (Vec::new(), 16);
    let mut settings = serde_json::to_value(Config::default())?;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => seeds = arguments.next().ok_or("--seeds wants a number")?.parse()?,
            "--set" => {
                let pair = arguments.next().ok_or("--set wants OPTION=VALUE")?;
                let (name, value) = pair.split_once('=').ok_or("--set wants OPTION=VALUE")?;
                settings[name] = serde_json::from_str(value)?;
            }
            _ => files.push(argument),
        }
    }
    let config: Config = serde_json::from_value(settings)?;
    if let Some(problem) = config.validate().first() {
        return Err(problem.clone().into());
    }
    for file in &files {
        let recording = Recording::open(Path::new(file))?;
        match recording.source {
            SourceKind::Px4Ulog | SourceKind::Simulated => one_flight(&recording, &config),
            SourceKind::Ansfl => many_seeds(&recording, &config, seeds),
        }
    }
    Ok(())
}

fn one_flight(recording: &Recording, config: &Config) {
    let s = fly(recording, config, &FixOptions::default());
    println!("{} against {:?}, valid until {:?} s", recording.name, recording.reference, s.reference_valid_until_s);
    println!(
        "  position rms {:.3?} m, max {:.3?} m; height rms {:.3?} m; tilt rms {:.2?} deg",
        s.position_error_rms_m, s.position_error_max_m, s.height_error_rms_m, s.tilt_error_rms_deg
    );
    println!("  held fix {:.3?} m, constant velocity {:.3?} m", s.held_fix_rms_m, s.constant_velocity_rms_m);
    println!(
        "  NIS below its upper bound {:.3?}, mean per degree of freedom {:.3?}; take-off {:+.2?} s, landing {:+.2?} s",
        s.nis_below_upper_share, s.nis_mean_per_dof, s.takeoff_difference_s, s.landing_difference_s
    );
}

fn many_seeds(recording: &Recording, config: &Config, seeds: u64) {
    println!("{} against {:?}, {seeds} noise seeds", recording.name, recording.reference);
    for sigma in [1.5, 0.5] {
        let m = monte_carlo(recording, config, sigma, seeds);
        println!(
            "  {sigma} m fixes: rms {:.2} m (worst seed {:.2}), held fix {:.2} m, constant velocity {:.2} m; NIS in band {:.3}, mean {:.2}",
            m.position_error_rms_mean_m,
            m.position_error_rms_max_m,
            m.held_fix_rms_mean_m,
            m.constant_velocity_rms_mean_m,
            m.nis_in_band_share,
            m.nis_mean_per_dof
        );
        for length_s in [5.0, 10.0] {
            let o = outages(recording, config, sigma, length_s, FIRST_OUTAGE_S, seeds.div_ceil(4));
            println!(
                "    outage of {length_s} s: median {:.1} m, max {:.1} m over {} windows",
                o.median_m,
                o.max_m,
                o.errors_m.len()
            );
        }
    }
}
