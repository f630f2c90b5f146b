//! Memory with a name, shared with real Python: `multiprocessing.shared_memory` and NumPy, both ways.
#![expect(unsafe_code, reason = "memory with a name is opened on trust")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use ndarray::Ix2;
use numpush::shm::{NamedError, NamedMemory};
use numpush_tests::python_with;

fn open(name: &str) -> Result<NamedMemory, NamedError> {
    // SAFETY: nobody truncates it.
    unsafe { NamedMemory::open(name) }
}

fn open_read_only(name: &str) -> Result<NamedMemory, NamedError> {
    // SAFETY: nobody truncates it.
    unsafe { NamedMemory::open_read_only(name) }
}

fn python(program: &str, arguments: &[&str]) -> Option<Child> {
    let mut command = Command::new(python_with("numpy")?);
    command
        .args(["-c", program])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Some(command.spawn().unwrap())
}

/// Python before 3.13 takes what it attaches for its own, and unlinks it at its end, unless it is told not to.
const ATTACH: &str = "
import sys, numpy
from multiprocessing import shared_memory, resource_tracker
def attach(name):
    if sys.version_info >= (3, 13):
        return shared_memory.SharedMemory(name, track=False)
    memory = shared_memory.SharedMemory(name)
    resource_tracker.unregister('/' + name, 'shared_memory')
    return memory
";

#[test]
fn python_works_on_what_we_made() {
    let segment =
        NamedMemory::create(&format!("test-ours-{}", std::process::id()), 3 * 4 * 8).unwrap();
    let array = segment.array::<f64, Ix2>((3, 4)).unwrap().unwrap();
    array
        .iter()
        .enumerate()
        .for_each(|(at, cell)| cell.set(at as f64));
    let program = format!(
        "{ATTACH}
memory = attach(sys.argv[1])
array = numpy.ndarray((3, 4), dtype='f8', buffer=memory.buf)
assert array.sum() == 66, array
array *= 2
array[2, 3] = -1
del array
memory.close()
"
    );
    let Some(mut child) = python(&program, &[segment.name()]) else {
        return;
    };
    assert!(child.wait().unwrap().success());
    assert_eq!(array[[1, 2]].get(), 12.0);
    assert_eq!(array[[2, 3]].get(), -1.0);
    let name = segment.name().to_owned();
    drop(segment);
    assert!(open(&name).is_err(), "the name goes with its maker");
}

#[test]
fn we_work_on_what_python_made() {
    let program = "
import sys, numpy
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(create=True, size=1 << 20)
array = numpy.ndarray((256, 512), dtype='f8', buffer=memory.buf)
array[:] = 3
print(memory.name, flush=True)
sys.stdin.readline()
assert array[255, 511] == 4 and array.sum() == 256 * 512 * 3 + 1, array.sum()
del array
memory.close()
memory.unlink()
";
    let Some(mut child) = python(program, &[]) else {
        return;
    };
    let mut name = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut name)
        .unwrap();
    let segment = open(name.trim()).unwrap();
    let array = segment.array::<f64, Ix2>((256, 512)).unwrap().unwrap();
    assert!(array.iter().all(|cell| cell.get() == 3.0));
    array[[255, 511]].set(4.0);
    assert!(
        segment.array::<f64, Ix2>((256, 513)).is_err(),
        "a row too many"
    );
    let read_only = open_read_only(name.trim()).unwrap();
    assert!(read_only.cells::<f64>().is_none());
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert!(child.wait().unwrap().success());
}
