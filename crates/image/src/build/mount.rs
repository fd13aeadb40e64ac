//! `RUN --mount`: what is asked for, understood but not carried out.

/// Which network a RUN sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// What a build usually has: the host's.
    #[default]
    Default,
    /// The host's, asked for by name.
    Host,
    /// One of its own, with loopback alone.
    None,
}

/// A `--mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) kind: Kind,
    /// Where, as it is written; empty for a secret's default place.
    pub(super) target: String,
    pub(super) read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bind {
        /// A stage, image or context; empty is the build's context.
        from: String,
        source: String,
    },
    Cache {
        id: String,
        sharing: Sharing,
        from: String,
        source: String,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Tmpfs {
        size: Option<u64>,
    },
    Secret {
        id: String,
        required: bool,
        /// The variable that holds it.
        env: Option<String>,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// What happens when several want one cache at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sharing {
    #[default]
    Shared,
    /// The second gets another one.
    Private,
    /// The second waits.
    Locked,
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    id: Option<String>,
    sharing: Option<Sharing>,
    read_only: Option<bool>,
    required: Option<bool>,
    env: Option<String>,
    size: Option<u64>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Mount {
    /// Reads `type=cache,target=/x`, after variables were put in.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields = Fields::read(text).map_err(|reason| format!("RUN --mount={text}: {reason}"))?;
        fields.mount().map_err(|reason| format!("RUN --mount={text}: {reason}"))
    }
}

impl Fields {
    fn read(text: &str) -> Result<Self, String> {
        let mut fields = Self::default();
        for field in comma_separated(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field.as_str(), None),
            };
            let key = key.to_ascii_lowercase();
            let flag = || match value {
                None | Some("true" | "1") => Ok(true),
                Some("false" | "0") => Ok(false),
                Some(other) => Err(format!("{key}={other}: it is true or false")),
            };
            match key.as_str() {
                "readonly" | "ro" => {
                    fields.read_only = Some(flag()?);
                    continue;
                }
                "readwrite" | "rw" => {
                    fields.read_only = Some(!flag()?);
                    continue;
                }
                "required" => {
                    fields.required = Some(flag()?);
                    continue;
                }
                _ => {}
            }
            fields.take(&key, value.ok_or_else(|| format!("{key} wants a value"))?)?;
        }
        Ok(fields)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u32>().map_err(|_| format!("{key}={value} is no number"));
        let text = Some(value.to_string());
        match key {
            "type" => self.kind = Some(value.to_ascii_lowercase()),
            "from" => self.from = text,
            "source" | "src" => self.source = text,
            "target" | "dst" | "destination" => self.target = text,
            "id" => self.id = text,
            "env" => self.env = text,
            "size" => self.size = Some(bytes(value)?),
            "uid" => self.uid = Some(number()?),
            "gid" => self.gid = Some(number()?),
            "mode" => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                self.mode = Some(mode.ok_or_else(|| format!("mode={value} is no octal mode"))?);
            }
            "sharing" => {
                self.sharing = Some(match value.to_ascii_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    other => return Err(format!("sharing={other}: it is shared, private or locked")),
                });
            }
            other => return Err(format!("{other} is not known")),
        }
        Ok(())
    }

    fn mount(self) -> Result<Mount, String> {
        let kind = self.kind.clone().unwrap_or_else(|| "bind".to_string());
        self.check(&kind)?;
        let target = self.target.clone().unwrap_or_default();
        let target_wanted = || match target.is_empty() {
            true => Err("target is missing".to_string()),
            false => Ok(()),
        };
        let from = self.from.unwrap_or_default();
        let source = self.source.clone().unwrap_or_default();
        let (uid, gid) = (self.uid.unwrap_or(0), self.gid.unwrap_or(0));
        let (kind, read_only) = match kind.as_str() {
            "bind" => {
                target_wanted()?;
                (Kind::Bind { from, source }, true)
            }
            "cache" => {
                target_wanted()?;
                let id = self.id.unwrap_or_else(|| target.clone());
                let (sharing, mode) = (self.sharing.unwrap_or_default(), self.mode.unwrap_or(0o755));
                let cache = Kind::Cache {
                    id,
                    sharing,
                    from,
                    source,
                    mode,
                    uid,
                    gid,
                };
                (cache, false)
            }
            "tmpfs" => {
                target_wanted()?;
                (Kind::Tmpfs { size: self.size }, false)
            }
            "secret" => {
                let base = target.rsplit('/').next().unwrap_or_default().to_string();
                let id = self.id.or(self.source).unwrap_or(base);
                if id.is_empty() {
                    return Err("id is missing".to_string());
                }
                let secret = Kind::Secret {
                    id,
                    required: self.required.unwrap_or(false),
                    env: self.env,
                    mode: self.mode.unwrap_or(0o400),
                    uid,
                    gid,
                };
                (secret, true)
            }
            "ssh" => return Err("type=ssh is not supported: bring a key as a secret".to_string()),
            other => return Err(format!("type={other}: it is bind, cache, tmpfs or secret")),
        };
        Ok(Mount {
            kind,
            target,
            read_only: self.read_only.unwrap_or(read_only),
        })
    }

    /// Refuses what a kind of mount has no use for.
    fn check(&self, kind: &str) -> Result<(), String> {
        let only = |given: bool, name: &str, kinds: &[&str]| match given && !kinds.contains(&kind) {
            true => Err(format!("{name} has no meaning with type={kind}")),
            false => Ok(()),
        };
        only(self.size.is_some(), "size", &["tmpfs"])?;
        only(self.sharing.is_some(), "sharing", &["cache"])?;
        only(self.from.is_some(), "from", &["bind", "cache"])?;
        only(self.required.is_some(), "required", &["secret", "ssh"])?;
        only(self.env.is_some(), "env", &["secret"])?;
        only(self.id.is_some(), "id", &["cache", "secret", "ssh"])?;
        only(self.mode.is_some(), "mode", &["cache", "secret", "ssh"])?;
        only(self.uid.is_some(), "uid", &["cache", "secret", "ssh"])?;
        only(self.gid.is_some(), "gid", &["cache", "secret", "ssh"])
    }
}

/// Fields between commas; a field in double quotes may have commas.
fn comma_separated(text: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err("a \" is not closed".to_string());
    }
    fields.push(field);
    Ok(fields)
}

/// `64m`, `1g`, or a number of bytes; units are powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("size={text} is no size such as 64m");
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let number: u64 = lower[..digits].parse().map_err(|_| wrong())?;
    let shift = match lower[digits..].trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    number
        .checked_shl(shift)
        .filter(|bytes| bytes >> shift == number)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind() {
        let cache = Mount::parse("type=cache,target=/c,sharing=locked,mode=0700").unwrap();
        assert!(matches!(&cache.kind, Kind::Cache { id, sharing: Sharing::Locked, mode: 0o700, .. } if id == "/c"));
        assert!(!cache.read_only);
        let bind = Mount::parse("from=a,source=/x,target=/y").unwrap();
        assert!(bind.read_only);
        assert!(!Mount::parse("target=/y,rw").unwrap().read_only);
        let tmpfs = Mount::parse("type=tmpfs,dst=/t,size=64m").unwrap();
        assert_eq!(tmpfs.kind, Kind::Tmpfs { size: Some(64 << 20) });
        let secret = Mount::parse("type=secret,target=/run/key,required").unwrap();
        assert!(matches!(&secret.kind, Kind::Secret { id, required: true, mode: 0o400, .. } if id == "key"));
    }

    #[test]
    fn what_is_refused_is_named() {
        for (text, word) in [
            ("type=ssh", "ssh"),
            ("type=other,target=/x", "other"),
            ("type=cache", "target"),
            ("type=bind,target=/x,size=1", "size"),
            ("type=secret", "id"),
            ("target=/x,what=1", "what"),
            ("type=cache,target=/x,sharing=all", "sharing"),
            ("type=cache,target=/x,mode=9", "mode"),
            ("type=tmpfs,target=/x,size=big", "size"),
            ("target", "value"),
        ] {
            let reason = Mount::parse(text).unwrap_err();
            assert!(reason.contains(word), "{text}: {reason}");
        }
    }
}
