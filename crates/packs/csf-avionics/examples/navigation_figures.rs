//! All figures of the navigation. Run: `cargo run --release --example navigation_figures`
use csf_avionics::eskf::Config;
use csf_avionics::evaluate::{FixOptions, fly, monte_carlo, outages};
use csf_avionics::recording::Recording;
use std::path::Path;
fn main() {
    let mut c: serde_json::Value = serde_json::to_value(Config::default()).unwrap();
    for a in std::env::args().skip(1) {
        if let Some((k, v)) = a.split_once('=') {
            c[k] = serde_json::from_str(v).unwrap();
        }
    }
    let c: Config = serde_json::from_value(c).unwrap();
    let base = "/work/shared/data/";
    for f in ["ship/px4_hover_fmu_v5.ulg", "flight/px4_real_flight_rtk.ulg", "ship/px4_handheld_auav_x21.ulg"] {
        let r = Recording::open(Path::new(&format!("{base}{f}"))).unwrap();
        let s = fly(&r, &c, &FixOptions::default());
        println!(
            "{f}: pos {:.3?} max {:.3?} h {:.3?} tilt {:.3?} held {:.3?} cv {:.3?} valid until {:?} nis below {:?} mean {:?} takeoff {:?} landing {:?}",
            s.position_error_rms_m,
            s.position_error_max_m,
            s.height_error_rms_m,
            s.tilt_error_rms_deg,
            s.held_fix_rms_m,
            s.constant_velocity_rms_m,
            s.reference_valid_until_s,
            s.nis_below_upper_share,
            s.nis_mean_per_dof,
            s.takeoff_difference_s,
            s.landing_difference_s
        );
    }
    let rs: Vec<_> = [1, 5, 11]
        .iter()
        .map(|p| Recording::open(Path::new(&format!("{base}flight/ansfl_p4rtk_path{p}_GT.csv.gz"))).unwrap())
        .collect();
    for sigma in [1.5, 0.5] {
        for r in &rs {
            let m = monte_carlo(r, &c, sigma, 16);
            println!(
                "{} s{sigma}: rms {:.3} max {:.3} held {:.3} cv {:.3} nis {:.3} mean {:.3}",
                r.name,
                m.position_error_rms_mean_m,
                m.position_error_rms_max_m,
                m.held_fix_rms_mean_m,
                m.constant_velocity_rms_mean_m,
                m.nis_in_band_share,
                m.nis_mean_per_dof
            );
        }
    }
    for sigma in [1.5, 0.5] {
        for len in [5.0, 10.0] {
            for r in &rs {
                let o = outages(r, &c, sigma, len, 8.0, 2);
                println!(
                    "{} s{sigma} outage {len}: n {} median {:.2} max {:.2}",
                    r.name,
                    o.errors_m.len(),
                    o.median_m,
                    o.max_m
                );
            }
        }
    }
}
