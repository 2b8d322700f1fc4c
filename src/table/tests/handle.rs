//! Publishing while others read and wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::super::{Handle, Table};
use super::{Asked, candidate, config};

/// A table whose only route is called like its generation.
fn numbered(generation: u64) -> Table<String> {
    let name = generation.to_string();
    Table::compile(
        &config(vec![("h", vec![candidate(&name, "/")])]),
        generation,
        |id| id.service.to_string(),
    )
}

#[test]
fn an_older_generation_never_goes_live() {
    let handle = Handle::new();
    assert_eq!(handle.load().generation(), 0);
    assert!(handle.publish(numbered(2)));
    assert!(!handle.publish(numbered(1)));
    assert!(!handle.publish(numbered(2)));
    assert_eq!(handle.load().generation(), 2);
}

#[tokio::test]
async fn wait_for_returns_at_once_for_what_is_live() {
    let handle = Handle::new();
    handle.wait_for(0).await;
    handle.publish(numbered(3));
    handle.wait_for(3).await;
    handle.wait_for(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_who_waits_is_woken() {
    let handle = Arc::new(Handle::new());
    let waiting: Vec<_> = (0..20_u64)
        .map(|n| {
            let handle = Arc::clone(&handle);
            tokio::spawn(async move {
                handle.wait_for(n).await;
                assert!(handle.load().generation() >= n);
            })
        })
        .collect();
    for generation in 1..20 {
        assert!(handle.publish(numbered(generation)));
        tokio::task::yield_now().await;
    }
    for task in waiting {
        tokio::time::timeout(Duration::from_secs(30), task)
            .await
            .expect("woken")
            .expect("no panic");
    }
}

#[test]
fn readers_see_whole_tables_in_order() {
    let handle = Arc::new(Handle::new());
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (handle, done) = (Arc::clone(&handle), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut last = 0;
                let mut looks = 0_u64;
                while !done.load(Ordering::Acquire) || looks == 0 {
                    let table = handle.load();
                    let generation = table.generation();
                    assert!(generation >= last, "a table went back");
                    let found = Asked::new("h", "/x").taken_by(&table).map(str::to_owned);
                    let expected = (generation > 0).then(|| generation.to_string());
                    assert_eq!(found, expected, "a table is not whole");
                    last = generation;
                    looks += 1;
                }
            })
        })
        .collect();
    for generation in 1..=500 {
        assert!(handle.publish(numbered(generation)));
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.join().expect("reader");
    }
    assert_eq!(handle.load().generation(), 500);
}

#[test]
fn a_route_outlives_its_table() {
    let handle = Handle::new();
    handle.publish(numbered(1));
    let kept = {
        let table = handle.load();
        Arc::clone(table.find(&Asked::new("h", "/")).expect("taken").route)
    };
    handle.publish(Table::compile(&crate::ir::Config::default(), 2, |id| {
        id.service.to_string()
    }));
    assert!(handle.load().find(&Asked::new("h", "/")).is_none());
    assert_eq!(&*kept.rule.id.rule, "1");
    assert_eq!(Arc::strong_count(&kept), 1, "the old table is gone");
}
