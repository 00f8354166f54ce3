//! The globals, in the one order in which a process can try them. One test: they are the process's.

use std::time::Duration;

use csf_core::{NanoTime, Stamp, TimeError};
use csf_time::{
    SimulatedClock, global_hlc_merge, global_hlc_status, global_hlc_tick, global_time_source, initialize_global_hlc,
    initialize_global_time_source, initialize_simulated_time_source, is_global_hlc_initialized,
};

#[test]
fn globals_are_set_once_and_say_what_to_call_before() {
    let error = global_time_source().err().unwrap();
    assert!(error.to_string().contains("call `csf_time::initialize_global_time_source` first"), "{error}");
    for error in
        [global_hlc_status().err().unwrap(), global_hlc_tick().unwrap_err(), global_hlc_merge(Stamp(1)).unwrap_err()]
    {
        assert!(error.to_string().contains("call `csf_time::initialize_global_hlc` first"), "{error}");
    }
    assert!(!is_global_hlc_initialized());

    let clock = initialize_simulated_time_source(NanoTime::ZERO).unwrap();
    clock.advance(Duration::from_nanos(500));
    assert_eq!(global_time_source().unwrap().now_ns().unwrap().as_nanos(), 500);
    let again = initialize_simulated_time_source(NanoTime::ZERO).err().unwrap();
    assert_eq!(again, TimeError::AlreadyInitialized { what: "time source" });
    let again = initialize_global_time_source(SimulatedClock::starting_at(NanoTime::ZERO));
    assert_eq!(again, Err(TimeError::AlreadyInitialized { what: "time source" }));

    initialize_global_hlc(global_time_source().unwrap(), 9).unwrap();
    assert!(is_global_hlc_initialized());
    let again = initialize_global_hlc(global_time_source().unwrap(), 9);
    assert_eq!(again, Err(TimeError::AlreadyInitialized { what: "hybrid logical clock" }));
    assert_eq!(global_hlc_tick().unwrap(), Stamp(500));
    assert_eq!(global_hlc_merge(Stamp(600)).unwrap(), Stamp(601));
    let status = global_hlc_status().unwrap();
    assert_eq!((status.node_id, status.last.physical, status.last.logical, status.drift_ns), (9, 601, 101, 101));
    assert!(!status.has_hardware_timing);
}
