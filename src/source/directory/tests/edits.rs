//! Every way to change a file counts, and removals wait.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    time::Duration,
};

use tokio::time::Instant;

use super::{outer, replace, route, service, watch, way};

#[tokio::test]
async fn what_is_there_at_the_start_is_the_first_table() {
    let outer = outer();
    let dir = outer.path().join("routes");
    for name in ["a", "b", "c"] {
        fs::write(
            dir.join(format!("{name}.yaml")),
            route(name, "s") + "---\n" + &service(name, "127.0.0.1"),
        )
        .expect("written");
    }
    let watched = watch(outer).await;
    watched
        .until("an update", || !watched.history.lock().is_empty())
        .await;
    assert_eq!(
        watched.history.lock().first(),
        Some(&vec![way("a", "?"), way("b", "?"), way("c", "?")])
    );
    let metrics = watched.metrics.encode();
    assert!(
        metrics.contains("hawser_source_last_event_timestamp_seconds "),
        "what a scan finds is news, too: {metrics}"
    );
    watched.stop().await;
}

#[tokio::test]
async fn an_empty_directory_is_a_table_too() {
    let watched = watch(outer()).await;
    assert_eq!(watched.live.load().generation(), 1);
    assert!(watched.served().is_empty());
    watched.stop().await;
}

#[tokio::test]
async fn files_are_added_edited_and_replaced() {
    let watched = watch(outer()).await;
    watched.write(
        "s.yaml",
        &(service("s", "127.0.0.1") + "---\n" + &service("t", "127.0.0.1")),
    );
    watched.write("a.yaml", &route("a", "s"));
    watched.until_served(&[&way("a", "s")]).await;
    watched.write("a.yaml", &route("a", "t"));
    watched.until_served(&[&way("a", "t")]).await;
    replace(&watched.path("a.yaml"), &route("a", "s"));
    watched.until_served(&[&way("a", "s")]).await;
    fs::rename(watched.path("a.yaml"), watched.path("b.yml")).expect("renamed");
    replace(
        &watched.path("c.json"),
        "{\"apiVersion\": \"hawser.dev/v1alpha1\", \"kind\": \"WebSocketRoute\", \"metadata\": {\"name\": \"c\"}, \"spec\": {\"hostnames\": [\"c.example.com\"], \"rules\": [{\"name\": \"all\", \"backendRefs\": [{\"name\": \"t\", \"port\": 80}]}]}}",
    );
    watched
        .until_served(&[&way("a", "s"), &way("c", "t")])
        .await;
    assert!(
        watched
            .history
            .lock()
            .iter()
            .skip_while(|served| served.is_empty())
            .all(|served| !served.is_empty()),
        "a rename drops nothing"
    );
    watched.stop().await;
}

#[tokio::test]
async fn a_deleted_file_and_a_deleted_document_go_after_half_a_second() {
    let watched = watch(outer()).await;
    watched.write("s.yaml", &service("s", "127.0.0.1"));
    watched.write("a.yaml", &(route("a", "s") + "---\n" + &route("b", "s")));
    watched.write("c.yaml", &route("c", "s"));
    watched
        .until_served(&[&way("a", "s"), &way("b", "s"), &way("c", "s")])
        .await;
    let started = Instant::now();
    fs::remove_file(watched.path("c.yaml")).expect("removed");
    watched.write("a.yaml", &route("a", "s"));
    watched.until("less", || watched.served().len() < 3).await;
    assert!(started.elapsed() >= Duration::from_millis(500));
    watched.until_served(&[&way("a", "s")]).await;
    watched.stop().await;
}

#[tokio::test]
async fn an_editor_that_truncates_first_drops_nothing() {
    let watched = watch(outer()).await;
    watched.write("s.yaml", &service("s", "127.0.0.1"));
    watched.write("a.yaml", &route("a", "s"));
    watched.until_served(&[&way("a", "s")]).await;
    watched.history.lock().clear();
    // Closed in between, so that the empty file is seen.
    watched.write("a.yaml", "");
    tokio::time::sleep(Duration::from_millis(200)).await;
    watched.write("a.yaml", &(route("a", "s") + "---\n" + &route("b", "s")));
    watched
        .until_served(&[&way("a", "s"), &way("b", "s")])
        .await;
    assert!(watched.always(&way("a", "s")));
    watched.stop().await;
}

#[tokio::test]
async fn a_file_that_stays_open_is_read_when_it_is_stable() {
    let watched = watch(outer()).await;
    watched.write("s.yaml", &service("s", "127.0.0.1"));
    let mut file = fs::File::create(watched.path("a.yaml")).expect("created");
    file.write_all(route("a", "s").as_bytes()).expect("written");
    watched.until_served(&[&way("a", "s")]).await;
    let mut file = OpenOptions::new()
        .append(true)
        .open(watched.path("a.yaml"))
        .expect("opened");
    file.write_all(format!("---\n{}", route("b", "s")).as_bytes())
        .expect("written");
    watched
        .until_served(&[&way("a", "s"), &way("b", "s")])
        .await;
    watched.stop().await;
}

#[tokio::test]
async fn endpoints_change_without_a_new_table() {
    let watched = watch(outer()).await;
    watched.write("a.yaml", &route("a", "s"));
    watched.write("s.yaml", &service("s", "127.0.0.1"));
    watched.until_served(&[&way("a", "s")]).await;
    let generation = watched.live.load().generation();
    let backend = watched.backends.list().remove(0);
    assert_eq!(backend.endpoints().len(), 1);
    watched.write("s.yaml", &service("s", "127.0.0.1 127.0.0.2 127.0.0.3"));
    watched
        .until("three endpoints", || backend.endpoints().len() == 3)
        .await;
    assert_eq!(watched.live.load().generation(), generation);
    watched.write("a.yaml", &(route("a", "s") + "# a comment\n"));
    watched.write("b.yaml", &route("b", "s"));
    watched
        .until_served(&[&way("a", "s"), &way("b", "s")])
        .await;
    assert_eq!(watched.live.load().generation(), generation + 1);
    watched.stop().await;
}

#[tokio::test]
async fn many_changes_come_in_few_tables() {
    let watched = watch(outer()).await;
    for number in 0..200 {
        watched.write(
            &format!("{number}.yaml"),
            &route(&format!("r{number}"), "s"),
        );
    }
    watched.until("all", || watched.served().len() == 200).await;
    let tables = watched.live.load().generation();
    assert!(tables < 100, "{tables} tables for 200 files");
    watched.stop().await;
}

#[tokio::test]
async fn the_watcher_ends_with_its_task() {
    let watched = watch(outer()).await;
    let history = std::sync::Arc::downgrade(&watched.history);
    watched.task.abort();
    drop(watched);
    let gone = async {
        while history.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(super::DEADLINE, gone)
        .await
        .expect("the thread ends");
}
