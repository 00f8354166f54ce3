//! The Rust code of the gRPC service is committed, so that nobody's build needs a compiler of protobuf; this test writes it and says whether it fits.

use std::path::Path;

/// After a change of `proto`: `CSF_GENERATE=1 cargo test -p csf-gateway --test generated`.
#[test]
fn the_committed_code_is_that_of_the_proto_files() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = here.join("proto");
    let files = protox::compile([proto.join("csf/tasks/v1/tasks.proto")], [proto]).unwrap();
    let folder = std::env::temp_dir().join(format!("csf-generated-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .out_dir(&folder)
        .compile_fds(files)
        .unwrap();
    let fresh = std::fs::read_to_string(folder.join("csf.tasks.v1.rs")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let committed = here.join("src/grpc/generated.rs");
    if std::env::var_os("CSF_GENERATE").is_some() {
        std::fs::write(&committed, &fresh).unwrap();
    }
    let is_same = std::fs::read_to_string(&committed).unwrap() == fresh;
    assert!(is_same, "src/grpc/generated.rs is not that of proto; run this test with CSF_GENERATE=1");
}
