//! Little room: a small /dev/shm, few descriptors, a control group, a user namespace. It works, or says why not; never a
//! SIGBUS, never a hang, never the OOM killer.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use ndarray::{Axis, Ix1};
use numpush::shm::{
    Arena, DoubleBufferedArray, NamedError, NamedMemory, Part, Pool, PoolError, PoolOptions,
    SharedArray, Tasks,
};
use numpush_tests::{can_run, not_run, under};

const ROLE: &str = "NUMPUSH_TEST_LIMIT";

fn scale(mut part: Part<SharedArray<f64, Ix1>>, factor: f64) {
    *part.write().unwrap() *= factor;
}

/// What is run under each limit, in a process of its own.
#[test]
fn work() {
    Tasks::new().with(scale).serve();
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let arena = Arena::new(32 << 20);
    let arrays: Vec<SharedArray<f64, Ix1>> = (0..10_000)
        .map(|_| SharedArray::zeros(&arena, 256).unwrap())
        .collect();
    arrays
        .iter()
        .for_each(|array| array.write().unwrap().fill(1.0));
    let shared = SharedArray::<f64, Ix1>::zeros(&arena, 1 << 20).unwrap();
    shared.write().unwrap().fill(1.0);
    let committed = DoubleBufferedArray::<f64, Ix1>::zeros(&arena, 1 << 10).unwrap();
    committed.commit(|next| next.fill(2.0)).unwrap();
    let options = PoolOptions::new().arguments(["--exact", "work", "--nocapture"]);
    let pool = Pool::with_options(2, options.clone()).unwrap();
    pool.map(scale, &shared.partition(Axis(0), 4).unwrap(), &3.0)
        .unwrap();
    assert_eq!(shared.read().unwrap()[(1 << 20) - 1], 3.0);
    drop(pool);
    if role == "small-shm" {
        let error =
            NamedMemory::create(&format!("limit-{}", std::process::id()), 1 << 20).unwrap_err();
        assert!(matches!(error, NamedError::Io { .. }), "{error}");
    }
    if role == "cgroup" {
        // The group has 96 MiB: an arena of all that is available ends with an error, not with a signal.
        let greedy = Arena::shared();
        let taken: Vec<_> = (0..100)
            .map_while(|_| SharedArray::<f64, Ix1>::zeros(&greedy, 1 << 20).ok())
            .collect();
        assert!(
            (1..14).contains(&taken.len()),
            "{} arrays of 8 MiB",
            taken.len()
        );
    }
    if role == "descriptors" {
        let error = Pool::with_options(100, options).unwrap_err();
        assert!(
            matches!(error, PoolError::Spawn { workers: 100, .. }),
            "{error}"
        );
        // What there is goes on.
        assert_eq!(shared.read().unwrap()[0], 3.0);
    }
    println!("worked");
}

/// Runs `work` behind `wrapper`, which ends with the program and its arguments.
fn works_under(role: &str, wrapper: &[&str]) {
    let output = under(wrapper, "work").env(ROLE, role).output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.signal(), None, "{out}{err}");
    assert!(
        output.status.success() && out.contains("worked"),
        "{}: {out}{err}",
        output.status
    );
}

#[test]
fn without_limits() {
    works_under("none", &["env"]);
}

#[test]
fn with_64_descriptors() {
    works_under("descriptors", &["prlimit", "--nofile=64"]);
}

#[test]
fn with_a_dev_shm_of_64_kib() {
    if can_run(
        &["unshare", "--user", "--map-root-user", "--mount"],
        &["true"],
    ) {
        let mount = "mount -t tmpfs -o size=64k np /dev/shm && exec \"$0\" \"$@\"";
        works_under(
            "small-shm",
            &[
                "unshare",
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                mount,
            ],
        );
    }
}

#[test]
fn in_a_user_and_pid_namespace() {
    let wrapper = [
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
    ];
    if can_run(&wrapper, &["true"]) {
        works_under("namespace", &wrapper);
    }
}

#[test]
fn in_a_control_group_of_96_mib() {
    // Version 1 or version 2, whichever the machine has.
    let name = format!("numpush-test-{}", std::process::id());
    let (folder, limit) = if PathBuf::from("/sys/fs/cgroup/memory").exists() {
        (
            PathBuf::from("/sys/fs/cgroup/memory").join(name),
            "memory.limit_in_bytes",
        )
    } else {
        (PathBuf::from("/sys/fs/cgroup").join(name), "memory.max")
    };
    let made = fs::create_dir(&folder)
        .and_then(|()| fs::write(folder.join(limit), (96 << 20).to_string()));
    if let Err(error) = made {
        not_run(&format!(
            "no control group can be made at {}: {error}",
            folder.display()
        ));
        let _ = fs::remove_dir(&folder);
        return;
    }
    let enter = format!(
        "echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"",
        folder.display()
    );
    let result = std::panic::catch_unwind(|| works_under("cgroup", &["sh", "-c", &enter]));
    let _ = fs::remove_dir(&folder);
    result.unwrap();
}
