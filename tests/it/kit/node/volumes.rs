//! Volumes: folders that are bound into the container, filled and refilled as a kubelet does.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{
        DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccount, ServiceAccountTokenProjection,
        Volume,
    },
};
use kube::{Api, Client, ResourceExt, api::PostParams};

use super::env;

type Files = BTreeMap<String, Vec<u8>>;

/// All volumes of a Pod.
pub(super) struct Volumes {
    client: Client,
    folder: PathBuf,
    address: String,
    /// What each volume has, so that only a difference is written.
    written: BTreeMap<String, Files>,
    tokens: BTreeMap<(String, String), Token>,
    count: u64,
}

struct Token {
    text: String,
    renew: Instant,
}

/// When a token is made anew: after 80 % of its life, and after a day at the latest, as a kubelet does.
pub(super) fn renewal(life: Duration) -> Duration {
    (life * 4 / 5).min(Duration::from_hours(24))
}

impl Volumes {
    pub(super) fn new(client: Client, folder: PathBuf, address: String) -> Self {
        Self {
            client,
            folder,
            address,
            written: BTreeMap::new(),
            tokens: BTreeMap::new(),
            count: 0,
        }
    }

    /// Where a volume is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// All tokens are made anew by the next fill.
    pub(super) fn expire(&mut self) {
        self.tokens.clear();
    }

    /// Makes the volumes, or brings them up to date. An error names what is missing.
    pub(super) async fn fill(&mut self, pod: &Pod) -> Result<(), String> {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.clone());
        for volume in volumes.unwrap_or_default() {
            let path = self.path(&volume.name);
            fs::create_dir_all(&path).map_err(|error| error.to_string())?;
            if volume.empty_dir.is_some() {
                let open = fs::Permissions::from_mode(0o777);
                fs::set_permissions(&path, open).map_err(|error| error.to_string())?;
                continue;
            }
            let files = self.files(pod, &volume).await;
            let files = files.map_err(|error| format!("volume {:?}: {error}", volume.name))?;
            if self.written.get(&volume.name) != Some(&files) {
                self.count += 1;
                write(&path, self.count, &files).map_err(|error| error.to_string())?;
                self.written.insert(volume.name, files);
            }
        }
        Ok(())
    }

    async fn files(&mut self, pod: &Pod, volume: &Volume) -> Result<Files, String> {
        let namespace = pod.namespace().unwrap_or_default();
        if let Some(source) = &volume.config_map {
            let values =
                env::config_map(&self.client, &namespace, &source.name, source.optional).await?;
            return Ok(chosen(values, source.items.as_deref()));
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let values = env::secret(&self.client, &namespace, name, source.optional).await?;
            return Ok(chosen(values, source.items.as_deref()));
        }
        if let Some(source) = &volume.downward_api {
            return self.downward(pod, source.items.as_deref());
        }
        let Some(projected) = &volume.projected else {
            return Err("this kind of volume is not supported by the test kit".to_owned());
        };
        let mut files = Files::new();
        for source in projected.sources.iter().flatten() {
            if let Some(token) = &source.service_account_token {
                let text = self.token(pod, &volume.name, token).await?;
                files.insert(token.path.clone(), text.into_bytes());
            } else if let Some(source) = &source.config_map {
                let values =
                    env::config_map(&self.client, &namespace, &source.name, source.optional)
                        .await?;
                files.extend(chosen(values, source.items.as_deref()));
            } else if let Some(source) = &source.secret {
                let values =
                    env::secret(&self.client, &namespace, &source.name, source.optional).await?;
                files.extend(chosen(values, source.items.as_deref()));
            } else if let Some(source) = &source.downward_api {
                files.extend(self.downward(pod, source.items.as_deref())?);
            } else {
                return Err("this projection is not supported by the test kit".to_owned());
            }
        }
        Ok(files)
    }

    fn downward(
        &self,
        pod: &Pod,
        items: Option<&[DownwardAPIVolumeFile]>,
    ) -> Result<Files, String> {
        let items = items.unwrap_or_default().iter();
        items
            .map(|item| {
                let path = item
                    .field_ref
                    .as_ref()
                    .map(|field| field.field_path.as_str());
                let value = env::field(pod, &self.address, path.unwrap_or_default())?;
                Ok((item.path.clone(), value.into_bytes()))
            })
            .collect()
    }

    async fn token(
        &mut self,
        pod: &Pod,
        volume: &str,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let key = (volume.to_owned(), wanted.path.clone());
        if let Some(token) = self
            .tokens
            .get(&key)
            .filter(|token| Instant::now() < token.renew)
        {
            return Ok(token.text.clone());
        }
        let spec = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone());
        let account = spec.unwrap_or_else(|| "default".to_owned());
        let namespace = pod.namespace().unwrap_or_default();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &namespace);
        let seconds = wanted.expiration_seconds.unwrap_or(3600);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: wanted.audience.clone().into_iter().collect(),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(pod.name_any()),
                    uid: pod.uid(),
                }),
            },
            ..TokenRequest::default()
        };
        let parameters = PostParams::default();
        let made = accounts
            .create_token_request(&account, &parameters, &request)
            .await;
        let text = match (made, self.tokens.get(&key)) {
            (Ok(made), _) => made.status.ok_or("no token")?.token,
            // The old one is better than none while the API server is away.
            (Err(_), Some(old)) => return Ok(old.text.clone()),
            (Err(error), None) => return Err(error.to_string()),
        };
        let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(600));
        let renew = Instant::now() + renewal(life);
        self.tokens.insert(
            key,
            Token {
                text: text.clone(),
                renew,
            },
        );
        Ok(text)
    }
}

fn chosen(values: Files, items: Option<&[KeyToPath]>) -> Files {
    let Some(items) = items else { return values };
    let mut values = values;
    let items = items.iter();
    items
        .filter_map(|item| Some((item.path.clone(), values.remove(&item.key)?)))
        .collect()
}

/// A folder with the files, a link `..data` to it that is swapped in one step, and a link per file through that.
fn write(volume: &Path, number: u64, files: &Files) -> std::io::Result<()> {
    let name = format!("..{number}");
    for (path, content) in files {
        let target = volume.join(&name).join(path);
        fs::create_dir_all(target.parent().unwrap_or(volume))?;
        fs::write(target, content)?;
    }
    fs::create_dir_all(volume.join(&name))?;
    let (data, new) = (volume.join("..data"), volume.join("..data_tmp"));
    let old = fs::read_link(&data).ok();
    symlink(&name, &new)?;
    fs::rename(new, data)?;
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let tops: Vec<String> = files.keys().map(first).collect();
    for top in &tops {
        let link = volume.join(top);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(top), link)?;
        }
    }
    for entry in fs::read_dir(volume)? {
        let entry = entry?.file_name().to_string_lossy().into_owned();
        if !entry.starts_with("..") && !tops.contains(&entry) {
            fs::remove_file(volume.join(entry))?;
        }
    }
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old))?;
    }
    Ok(())
}

#[test]
fn tokens_are_renewed_before_they_expire() {
    assert_eq!(renewal(Duration::from_mins(10)), Duration::from_mins(8));
    assert_eq!(
        renewal(Duration::from_hours(24 * 365)),
        Duration::from_hours(24)
    );
}

#[test]
fn a_volume_changes_in_one_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = |text: &str| {
        Files::from([
            ("a/b".to_owned(), text.into()),
            (text.to_owned(), b"x".to_vec()),
        ])
    };
    write(folder.path(), 1, &files("one")).expect("written");
    write(folder.path(), 2, &files("two")).expect("written");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
    assert_eq!(read("a/b").as_deref(), Some("two"));
    assert_eq!(read("two").as_deref(), Some("x"));
    assert_eq!(read("one"), None, "a key that went");
    assert_eq!(read("..data/a/b").as_deref(), Some("two"));
    assert!(!folder.path().join("..1").exists(), "old data is removed");
}
