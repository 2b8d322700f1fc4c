//! Directories that change as a whole.

use std::{fs, os::unix::fs::symlink};

use super::{begin, outer, route, service, watch, way};

#[tokio::test]
async fn directories_below_count() {
    let watched = watch(outer()).await;
    watched.write("s.yaml", &service("s", "127.0.0.1"));
    fs::create_dir_all(watched.path("team/one")).expect("made");
    watched.write("team/one/a.yaml", &route("a", "s"));
    watched.until_served(&[&way("a", "s")]).await;
    watched.write("team/one/b.yaml", &route("b", "s"));
    watched
        .until_served(&[&way("a", "s"), &way("b", "s")])
        .await;
    watched.history.lock().clear();
    fs::rename(watched.path("team/one"), watched.path("two")).expect("moved");
    watched.write("two/c.yaml", &route("c", "s"));
    watched
        .until_served(&[&way("a", "s"), &way("b", "s"), &way("c", "s")])
        .await;
    assert!(watched.always(&way("a", "s")), "moving drops nothing");
    fs::remove_dir_all(watched.path("two")).expect("removed");
    watched.until_served(&[]).await;
    watched.stop().await;
}

#[tokio::test]
async fn names_with_a_dot_are_not_read() {
    let watched = watch(outer()).await;
    fs::create_dir(watched.path(".git")).expect("made");
    watched.write(".git/a.yaml", &route("a", "s"));
    watched.write(".#b.yaml", &route("b", "s"));
    watched.write("c.yaml", &route("c", "s"));
    watched.until_served(&[&way("c", "?")]).await;
    watched.stop().await;
}

/// What the kubelet makes of a `ConfigMap`.
#[tokio::test]
async fn a_mounted_config_map_is_swapped() {
    let outer = outer();
    let dir = outer.path().join("routes");
    fs::create_dir(dir.join("..2026_01")).expect("made");
    fs::write(
        dir.join("..2026_01/a.yaml"),
        route("a", "s") + "---\n" + &service("s", "127.0.0.1"),
    )
    .expect("written");
    symlink("..2026_01", dir.join("..data")).expect("linked");
    symlink("..data/a.yaml", dir.join("a.yaml")).expect("linked");
    let watched = watch(outer).await;
    assert_eq!(watched.served(), [way("a", "s")]);
    watched.history.lock().clear();
    for (number, text) in [(2, route("b", "s")), (3, route("c", "s"))] {
        let old = watched.path(&format!("..2026_0{}", number - 1));
        let new = format!("..2026_0{number}");
        fs::create_dir(watched.path(&new)).expect("made");
        let text = route("a", "s") + "---\n" + &service("s", "127.0.0.1") + "---\n" + &text;
        watched.write(&format!("{new}/a.yaml"), &text);
        symlink(&new, watched.path("..data_tmp")).expect("linked");
        fs::rename(watched.path("..data_tmp"), watched.path("..data")).expect("renamed");
        fs::remove_dir_all(old).expect("removed");
        let added = if number == 2 { "b" } else { "c" };
        watched
            .until_served(&[&way("a", "s"), &way(added, "s")])
            .await;
    }
    assert!(watched.always(&way("a", "s")));
    watched.stop().await;
}

#[tokio::test]
async fn the_whole_directory_is_replaced() {
    let outer = outer();
    let (dir, next) = (outer.path().join("routes"), outer.path().join("next"));
    let shared = route("a", "s") + "---\n" + &service("s", "127.0.0.1");
    fs::write(dir.join("a.yaml"), &shared).expect("written");
    fs::write(dir.join("b.yaml"), route("b", "s")).expect("written");
    fs::create_dir(&next).expect("made");
    fs::write(next.join("a.yaml"), &shared).expect("written");
    fs::write(next.join("c.yaml"), route("c", "s")).expect("written");
    let watched = watch(outer).await;
    watched
        .until_served(&[&way("a", "s"), &way("b", "s")])
        .await;
    watched.history.lock().clear();
    fs::rename(&dir, watched.outer.path().join("old")).expect("moved");
    fs::rename(&next, &dir).expect("moved");
    watched
        .until_served(&[&way("a", "s"), &way("c", "s")])
        .await;
    assert!(watched.always(&way("a", "s")));
    // The new one is watched, the old one is not.
    fs::write(watched.outer.path().join("old/z.yaml"), route("z", "s")).expect("written");
    watched.write("d.yaml", &route("d", "s"));
    watched
        .until_served(&[&way("a", "s"), &way("c", "s"), &way("d", "s")])
        .await;
    watched.stop().await;
}

#[tokio::test]
async fn a_directory_that_disappears_takes_nothing_with_it() {
    let watched = watch(outer()).await;
    watched.write(
        "a.yaml",
        &(route("a", "s") + "---\n" + &service("s", "127.0.0.1")),
    );
    watched.until_served(&[&way("a", "s")]).await;
    watched.history.lock().clear();
    let away = watched.outer.path().join("away");
    fs::rename(&watched.dir, &away).expect("moved");
    watched
        .until("an error", || watched.broken() == Some(1))
        .await;
    // Longer than any removal would take.
    tokio::time::sleep(super::super::files::REMOVAL * 2).await;
    assert_eq!(watched.served(), [way("a", "s")]);
    fs::rename(&away, &watched.dir).expect("moved");
    watched
        .until("no problem", || watched.broken() == Some(0))
        .await;
    watched.write("b.yaml", &route("b", "s"));
    watched
        .until_served(&[&way("a", "s"), &way("b", "s")])
        .await;
    assert!(watched.always(&way("a", "s")));
    watched.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_deleted_and_made_again_is_read_again() {
    let watched = watch(outer()).await;
    watched.write(
        "a.yaml",
        &(route("a", "s") + "---\n" + &service("s", "127.0.0.1")),
    );
    watched.until_served(&[&way("a", "s")]).await;
    watched.history.lock().clear();
    fs::remove_dir_all(&watched.dir).expect("removed");
    watched
        .until("an error", || watched.broken() == Some(1))
        .await;
    tokio::time::sleep(super::super::files::REMOVAL * 2).await;
    assert_eq!(watched.served(), [way("a", "s")]);
    fs::create_dir(&watched.dir).expect("made");
    watched.write(
        "b.yaml",
        &(route("b", "s") + "---\n" + &service("s", "127.0.0.1")),
    );
    watched.until_served(&[&way("b", "s")]).await;
    watched.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_yet_is_waited_for() {
    let outer = outer();
    let dir = outer.path().join("routes");
    fs::remove_dir(&dir).expect("removed");
    let watched = begin(outer);
    tokio::time::sleep(super::super::files::REMOVAL).await;
    assert_eq!(watched.live.load().generation(), 0, "nothing is complete");
    fs::create_dir(&dir).expect("made");
    watched.write("a.yaml", &route("a", "s"));
    watched.until_served(&[&way("a", "?")]).await;
    watched.stop().await;
}

#[tokio::test]
async fn a_link_to_a_directory_is_swapped() {
    let outer = outer();
    let dir = outer.path().join("routes");
    fs::remove_dir(&dir).expect("removed");
    for name in ["one", "two"] {
        fs::create_dir(outer.path().join(name)).expect("made");
        fs::write(outer.path().join(name).join("a.yaml"), route(name, "s")).expect("written");
    }
    symlink("one", &dir).expect("linked");
    let watched = watch(outer).await;
    assert_eq!(watched.served(), [way("one", "?")]);
    let next = watched.outer.path().join("next");
    symlink("two", &next).expect("linked");
    fs::rename(next, &watched.dir).expect("renamed");
    watched.until_served(&[&way("two", "?")]).await;
    watched.write("b.yaml", &route("b", "s"));
    watched
        .until_served(&[&way("b", "?"), &way("two", "?")])
        .await;
    watched.stop().await;
}
