//! Embeds the agent, its git program and the spawner, so that one file is the whole product.
//!
//! `ALCOVE_PARTS_DIR` names the folder with the static programs. Without it, as in a plain `cargo build`,
//! nothing is embedded and the programs are looked for beside the binary.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed=ALCOVE_PARTS_DIR");
    let parts = env::var_os("ALCOVE_PARTS_DIR").map(PathBuf::from);
    let mut code = Vec::new();
    for (constant, program) in [
        ("AGENT", "alcove-agent"),
        ("GIT", "alcove-git"),
        ("SPAWNER", "alcove-spawner"),
    ] {
        let value = match &parts {
            Some(folder) => {
                let path = fs::canonicalize(folder.join(program))?;
                println!("cargo::rerun-if-changed={}", path.display());
                format!("Some(include_bytes!({:?}))", path.display().to_string())
            }
            None => "None".to_owned(),
        };
        code.push(format!("pub static {constant}: Option<&[u8]> = {value};"));
    }
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("parts.rs"), code.join("\n"))
}
