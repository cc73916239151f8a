//! Packs a root file system into an OCI archive, or imports one, without the rest of Alcove:
//! `pack_image pack CONFIG.json OUT.oci.tar < rootfs.tar` and `pack_image import STORE ARCHIVE NAME`.

use std::path::Path;

use alcove_runner::image::ImageStore;
use alcove_runner::image::build::write_oci_archive;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["pack", config, out] => {
            let config = serde_json::from_slice(&std::fs::read(config)?)?;
            let digest = write_oci_archive(std::io::stdin().lock(), &config, Path::new(out))?;
            println!("{}", digest.0);
        }
        ["import", store, archive, name] => {
            let store = ImageStore::open(Path::new(store))?;
            println!("{:?}", store.import_oci(Path::new(archive), name)?);
        }
        _ => return Err("pack CONFIG OUT < ROOTFS, or import STORE ARCHIVE NAME".into()),
    }
    Ok(())
}
