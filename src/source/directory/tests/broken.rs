//! What is broken costs nothing else.

use std::{fs, os::unix::fs::symlink, process::Command};

use super::{outer, route, service, watch, way};

#[tokio::test]
async fn a_broken_file_at_the_start_costs_only_itself() {
    let outer = outer();
    let dir = outer.path().join("routes");
    fs::write(dir.join("a.yaml"), "kind: [").expect("written");
    fs::write(
        dir.join("b.yaml"),
        route("b", "s") + "---\n" + &service("s", "127.0.0.1"),
    )
    .expect("written");
    let watched = watch(outer).await;
    assert_eq!(watched.served(), [way("b", "s")]);
    assert_eq!(watched.broken(), Some(1));
    watched.write("a.yaml", &route("a", "s"));
    watched
        .until_served(&[&way("a", "s"), &way("b", "s")])
        .await;
    watched
        .until("no problem", || watched.broken() == Some(0))
        .await;
    watched.stop().await;
}

#[tokio::test]
async fn a_file_that_breaks_keeps_what_it_had() {
    let watched = watch(outer()).await;
    watched.write("s.yaml", &service("s", "127.0.0.1"));
    watched.write("a.yaml", &route("a", "s"));
    watched.until_served(&[&way("a", "s")]).await;
    watched.history.lock().clear();
    for text in ["kind: [", "a: 1\na: 2\n", "--- \u{0}"] {
        watched.write("a.yaml", text);
        watched.until(text, || watched.broken() == Some(1)).await;
        watched.write("a.yaml", &route("a", "s"));
        watched
            .until("no problem", || watched.broken() == Some(0))
            .await;
    }
    fs::write(watched.path("a.yaml"), b"a: \xff\n").expect("written");
    watched
        .until("not UTF-8", || watched.broken() == Some(1))
        .await;
    watched.write("b.yaml", &route("b", "s"));
    watched
        .until_served(&[&way("a", "s"), &way("b", "s")])
        .await;
    assert!(watched.always(&way("a", "s")));
    watched.stop().await;
}

#[tokio::test]
async fn an_object_that_the_schema_refuses_keeps_its_last_version() {
    let watched = watch(outer()).await;
    watched.write("s.yaml", &service("s", "127.0.0.1"));
    watched.write("a.yaml", &(route("a", "s") + "---\n" + &route("b", "s")));
    watched
        .until_served(&[&way("a", "s"), &way("b", "s")])
        .await;
    let bad = route("a", "s").replace("port: 80", "port: 80000");
    watched.write("a.yaml", &(bad.clone() + "---\n" + &route("b", "t")));
    watched
        .until_served(&[&way("a", "s"), &way("b", "?")])
        .await;
    let expected = Some((false, "InvalidSpec"));
    watched
        .until("a verdict", || {
            watched.condition("a", "Accepted") == expected
        })
        .await;
    assert_eq!(
        watched.condition("a", "Programmed"),
        Some((false, "NoValidRule"))
    );
    assert_eq!(watched.condition("b", "Accepted"), Some((true, "Accepted")));
    assert_eq!(
        watched.condition("b", "Programmed"),
        Some((true, "Programmed"))
    );
    let verdict = watched.verdict("a").expect("judged");
    let message = &verdict.conditions[0].message;
    assert!(message.contains("port"), "{message}");
    assert!(message.contains("stays live"), "{message}");
    // A good definition elsewhere beats the kept copy.
    watched.write(
        "z.yaml",
        &(route("a", "t") + "---\n" + &service("t", "127.0.0.1")),
    );
    watched
        .until_served(&[&way("a", "t"), &way("b", "t")])
        .await;
    assert_eq!(watched.condition("a", "Accepted"), Some((true, "Accepted")));
    watched.stop().await;
}

#[tokio::test]
async fn an_object_that_was_never_valid_has_a_verdict() {
    let outer = outer();
    let bad = route("a", "s").replace("port: 80", "port: 80000");
    fs::write(outer.path().join("routes/a.yaml"), bad).expect("written");
    let watched = watch(outer).await;
    assert!(watched.served().is_empty());
    let expected = Some((false, "InvalidSpec"));
    watched
        .until("a verdict", || {
            watched.condition("a", "Accepted") == expected
        })
        .await;
    watched.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_read_cost_only_themselves() {
    let outer = outer();
    let dir = outer.path().join("routes");
    fs::write(dir.join("a.yaml"), route("a", "s")).expect("written");
    // A link to itself: nobody can open it, not even root.
    symlink("loop.yaml", dir.join("loop.yaml")).expect("linked");
    // A link to nothing is no file.
    symlink("nothing.yaml", dir.join("dangling.yaml")).expect("linked");
    // A link to the directory itself has no end.
    symlink(".", dir.join("self")).expect("linked");
    let pipe = dir.join("pipe.yaml");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    fs::File::create(dir.join("huge.yaml"))
        .and_then(|file| file.set_len(super::super::look::MAX_SIZE + 1))
        .expect("a large file");
    fs::create_dir(dir.join("folder.yaml")).expect("a directory");
    let watched = watch(outer).await;
    assert_eq!(watched.served(), [way("a", "?")]);
    assert_eq!(watched.broken(), Some(3), "loop, pipe, huge");
    fs::remove_file(watched.path("loop.yaml")).expect("removed");
    fs::remove_file(&pipe).expect("removed");
    watched.write("huge.yaml", &route("b", "s"));
    watched
        .until_served(&[&way("a", "?"), &way("b", "?")])
        .await;
    watched
        .until("no problem", || watched.broken() == Some(0))
        .await;
    watched.stop().await;
}

#[tokio::test]
async fn of_two_files_with_the_same_object_the_first_counts() {
    let outer = outer();
    let dir = outer.path().join("routes");
    fs::write(
        dir.join("s.yaml"),
        service("s", "127.0.0.1") + "---\n" + &service("t", "127.0.0.1"),
    )
    .expect("written");
    fs::write(dir.join("b.yaml"), route("a", "t")).expect("written");
    fs::write(dir.join("a.yaml"), route("a", "s")).expect("written");
    let watched = watch(outer).await;
    assert_eq!(watched.served(), [way("a", "s")]);
    assert_eq!(watched.broken(), Some(1));
    fs::remove_file(watched.path("a.yaml")).expect("removed");
    watched.until_served(&[&way("a", "t")]).await;
    assert_eq!(watched.broken(), Some(0));
    watched.stop().await;
}

#[tokio::test]
async fn other_kinds_lists_and_large_files_are_fine() {
    let outer = outer();
    let dir = outer.path().join("routes");
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n";
    let items = ["b", "c"].map(|name| {
        let text = route(name, "s").replace('\n', "\n  ");
        format!("- {}\n", text.trim_end())
    });
    let items = items.concat();
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    let padding = format!("# {}\n", "x".repeat(98)).repeat(100_000);
    let text = format!("{other}---\n{}---\n{list}---\n{padding}", route("a", "s"));
    assert!(text.len() > 10_000_000);
    fs::write(dir.join("all.yaml"), text).expect("written");
    let watched = watch(outer).await;
    assert_eq!(
        watched.served(),
        [way("a", "?"), way("b", "?"), way("c", "?")]
    );
    assert_eq!(watched.broken(), Some(0));
    watched.stop().await;
}
