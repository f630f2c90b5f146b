use std::io;
use std::path::Path;

use numpush_os as os;

/// How much memory this machine has for sharing. An arena takes its default budget from the same figures.
#[non_exhaustive]
#[derive(Debug)]
pub struct MachineMemory {
    /// Bytes that the machine has, or the lowest limit of a control group if that is lower; or why that is not known.
    pub total: io::Result<u64>,
    /// Bytes that can be had without swapping, or why that is not known.
    pub available: io::Result<u64>,
    /// Of the process's control group and those above it, the one with the least memory left.
    pub group: Option<MemoryGroup>,
    /// Bytes of `/dev/shm`, where memory with names lies, in all and free, or why that is not known.
    pub named: io::Result<(u64, u64)>,
}

/// The memory of a control group.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryGroup {
    /// Over this many bytes the kernel kills.
    pub limit: u64,
    /// Bytes that are used. File cache that the kernel can take back is not counted.
    pub used: u64,
}

/// The kernel and the C library that the program runs with.
#[non_exhaustive]
#[derive(Debug)]
pub struct MachineVersions {
    /// The kernel's release, such as `6.18.2-amd64`, or why that is not known.
    pub kernel: io::Result<String>,
    /// The version of the GNU C library, such as `2.36`; `None` with another C library.
    pub gnu_c_library: Option<String>,
}

/// Returns the versions of the kernel and of the C library. numpush works from Linux 4.18 and glibc 2.28 on.
pub fn machine_versions() -> MachineVersions {
    MachineVersions {
        kernel: os::kernel_release(),
        gnu_c_library: os::gnu_c_library(),
    }
}

/// Asks the kernel how much memory there is for sharing.
///
/// ```
/// let memory = numpush_shm::machine_memory();
/// println!("{:?} bytes available", memory.available);
/// ```
pub fn machine_memory() -> MachineMemory {
    MachineMemory {
        total: os::total_memory(),
        available: os::available_memory(),
        group: os::memory_limit().map(|group| MemoryGroup {
            limit: group.limit,
            used: group.used,
        }),
        named: os::file_system_room(Path::new("/dev/shm")),
    }
}
