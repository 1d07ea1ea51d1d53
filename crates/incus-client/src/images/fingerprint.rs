//! Fingerprint of an image: the SHA-256 of its concatenated files.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Reads all files. Calls `seen` with the number of bytes read so far.
///
/// Blocks the thread.
pub(crate) fn fingerprint(paths: &[PathBuf], mut seen: impl FnMut(u64)) -> Result<String> {
    let mut hash = Sha256::new();
    let mut total = 0;
    let mut buffer = vec![0; 1 << 20];
    for path in paths {
        let failed = |source: io::Error| Error::ReadFile { path: path.clone(), source };
        let mut file = File::open(path).map_err(failed)?;
        loop {
            let n = file.read(&mut buffer).map_err(failed)?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
            total += n as u64;
            seen(total);
        }
    }
    Ok(hex::encode(hash.finalize()))
}
