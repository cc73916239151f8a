//! What clients of the SSH gateway say before they have logged in.
#![no_main]

use std::sync::LazyLock;

use alcove_ssh::{Gateway, HostKey, Limits};
use alcove_testkit::TestControl;
use tokio::runtime::{Builder, Runtime};

struct Server {
    runtime: Runtime,
    gateway: Gateway,
    _control: TestControl,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let control = runtime.block_on(TestControl::open());
    let folder = tempfile::tempdir().expect("a folder");
    let key = HostKey::ensure(&folder.path().join("key")).expect("a key");
    Server {
        gateway: Gateway::new(control.control.clone(), &key, Limits::default()),
        _control: control,
        runtime,
    }
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let server = &*SERVER;
    server
        .runtime
        .block_on(alcove_ssh::fuzzing::stranger(&server.gateway, input));
});
