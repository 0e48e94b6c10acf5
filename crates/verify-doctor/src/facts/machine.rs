//! The file systems under the data directory and the WAL of a server on this machine.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::fact::{Fact, Missing, known};

/// The file systems of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// File system of the data directory.
    pub data: FileSystem,
    /// File system of the WAL, which may be another one.
    pub wal: FileSystem,
}

/// A file system, as seen from a directory in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    pub directory: PathBuf,
    /// Its device, which identifies it.
    pub device: u64,
    /// The name of its type, if it is a network file system.
    pub network: Option<&'static str>,
    pub used_bytes: u64,
    /// Used bytes, and those that an ordinary user may still use.
    pub total_bytes: u64,
}

/// Magic numbers of `statfs` of file systems over a network.
const NETWORK: [(u64, &str); 8] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x00C3_6400, "ceph"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "fuse"),
    (0x0BD0_0BD0, "lustre"),
];

impl Machine {
    /// Examines the file systems of the server with this data directory, if it is on this machine.
    pub fn look(data_directory: &str, system_identifier: &Fact<u64>) -> Fact<Self> {
        let directory = Path::new(data_directory);
        let identifier = known(system_identifier)?;
        let needs = "run it on the server's machine, as the server's user or root";
        let mut control = [0_u8; 8];
        let read = File::open(directory.join("global/pg_control"))
            .and_then(|mut file| file.read_exact(&mut control));
        if let Err(error) = read {
            let reason = format!("{data_directory} is not readable here: {error}");
            return Err(Missing::unknown(reason, needs));
        }
        if u64::from_ne_bytes(control) != *identifier {
            let reason = format!("{data_directory} of this machine is another server's");
            return Err(Missing::unknown(reason, needs));
        }
        let look = |directory: &Path| {
            FileSystem::of(directory).map_err(|error| {
                Missing::unknown(format!("failed to examine {}: {error}", directory.display()), needs)
            })
        };
        Ok(Self { data: look(directory)?, wal: look(&directory.join("pg_wal"))? })
    }
}

impl FileSystem {
    fn of(directory: &Path) -> std::io::Result<Self> {
        let directory = directory.canonicalize()?;
        let device = rustix::fs::stat(&directory)?.st_dev;
        let found = statfs(&directory)?;
        let block = u64::try_from(found.f_bsize).unwrap_or(1);
        let used = found.f_blocks.saturating_sub(found.f_bfree);
        #[expect(clippy::cast_sign_loss, reason = "a magic number is a pattern of 32 bits")]
        let kind = found.f_type as u64 & 0xFFFF_FFFF;
        Ok(Self {
            directory,
            device,
            network: NETWORK.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name),
            used_bytes: used.saturating_mul(block),
            total_bytes: (used + found.f_bavail).saturating_mul(block),
        })
    }

    /// The used part, as `df` rounds it: upwards.
    pub fn used_percent(&self) -> u64 {
        let (used, total) = (u128::from(self.used_bytes), u128::from(self.total_bytes.max(1)));
        u64::try_from((used * 100).div_ceil(total)).unwrap_or(100)
    }

    /// Its directory.
    pub fn shown(&self) -> String {
        self.directory.display().to_string()
    }
}
