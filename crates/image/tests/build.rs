//! Builds of whole Dockerfiles, with a machine that only pretends to run commands: a command is a list of files that it
//! writes, `NAME=CONTENT`, into the upper directory.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use image::{Error, Event, Failure, Host, Image, Job, Options, Progress, Source, Store, Stream};

/// Remembers what it was asked to run.
#[derive(Default)]
struct Machine {
    jobs: Mutex<Vec<Job>>,
    events: Mutex<Vec<String>>,
    /// The images that were to be pulled.
    asked_for: Mutex<Vec<String>>,
    /// What every pull brings: an image of this store.
    registry: Mutex<Option<(Store, String)>>,
}

impl Host for Machine {
    fn run(&self, job: &Job, output: &mut dyn FnMut(Stream, &[u8])) -> Result<i32, Failure> {
        self.jobs.lock().unwrap().push(job.clone());
        let command = job.args.last().unwrap();
        output(Stream::Out, command.as_bytes());
        for word in command.split_whitespace() {
            if word == "fail" {
                return Ok(3);
            }
            if let Some((name, content)) = word.split_once('=') {
                let path = job.upper.join(name.trim_start_matches('/'));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
        }
        Ok(0)
    }

    fn fetch(&self, url: &str, to: &mut File) -> Result<Option<i64>, Failure> {
        to.write_all(format!("content of {url}").as_bytes()).unwrap();
        Ok(Some(1_000_000_000))
    }

    fn pull(&self, name: &str, output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), Failure> {
        output(Stream::Err, b"asked\n");
        self.asked_for.lock().unwrap().push(name.to_string());
        let registry = self.registry.lock().unwrap();
        let nowhere = || Failure(format!("{name} is nowhere"));
        let (store, from) = registry.as_ref().ok_or_else(nowhere)?;
        let tagged = store.tag(from, &name.parse().unwrap());
        tagged.map_err(|error| Failure(error.to_string()))
    }

    fn cancelled(&self) -> bool {
        false
    }
}

impl Progress for Machine {
    fn event(&self, event: Event<'_>) {
        let text = match event {
            Event::Started { step, name } => format!("#{step} {name}"),
            Event::Done { step, cached } => format!("#{step} {}", if cached { "CACHED" } else { "DONE" }),
            Event::Failed { step, reason } => format!("#{step} ERROR {reason}"),
            Event::Warning(text) => format!("WARN {text}"),
            Event::Output { .. } => return,
        };
        self.events.lock().unwrap().push(text);
    }
}

struct Site {
    dir: tempfile::TempDir,
    store: Store,
    machine: Machine,
    options: Options,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("images")).unwrap();
        let (context, workspace) = (dir.path().join("context"), dir.path().join("images/room"));
        fs::create_dir_all(&context).unwrap();
        fs::create_dir_all(&workspace).unwrap();
        for (path, content) in files {
            let path = context.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let options = Options {
            context,
            workspace,
            names: vec!["x".parse().unwrap()],
            ..Options::default()
        };
        let machine = Machine::default();
        Self {
            dir,
            store,
            machine,
            options,
        }
    }

    fn try_build(&self, text: &str) -> Result<Image, Error> {
        let mut options = self.options.clone();
        options.text = Some(text.to_string());
        self.machine.jobs.lock().unwrap().clear();
        self.machine.events.lock().unwrap().clear();
        self.store.build(&options, &self.machine, &self.machine)?;
        assert_eq!(
            fs::read_dir(&options.workspace).unwrap().count(),
            0,
            "the room is not empty"
        );
        let name = options.names[0].to_string();
        Ok(self.store.resolve(&name).unwrap().unwrap())
    }

    fn build(&self, text: &str) -> Image {
        self.try_build(text).unwrap()
    }

    fn jobs(&self) -> Vec<Job> {
        self.machine.jobs.lock().unwrap().clone()
    }

    fn events(&self) -> String {
        self.machine.events.lock().unwrap().join("\n")
    }
}

/// The topmost file of a name.
fn at(image: &Image, path: &str) -> Option<PathBuf> {
    image
        .layers
        .iter()
        .map(|layer| layer.join(path))
        .find(|path| path.symlink_metadata().is_ok())
}

fn read(image: &Image, path: &str) -> Option<String> {
    fs::read_to_string(at(image, path)?).ok()
}

fn mode(image: &Image, path: &str) -> u32 {
    at(image, path).unwrap().symlink_metadata().unwrap().mode() & 0o7777
}

fn owner(image: &Image, path: &str) -> (u32, u32) {
    let metadata = at(image, path).unwrap().symlink_metadata().unwrap();
    (metadata.uid(), metadata.gid())
}

#[test]
fn the_configuration_is_what_docker_makes() {
    let site = Site::new(&[
        ("server", "binary"),
        ("site/index.html", "hello"),
        ("site/css/a.css", "a{}"),
    ]);
    let text = "# a comment\nFROM scratch\nENV PORT=8080 \\\n    NAME=\"two words\"\nWORKDIR /srv\nCOPY site ./www\n\
         COPY server /bin/\nEXPOSE $PORT\nLABEL a=b\nVOLUME /data [x]\nSTOPSIGNAL SIGQUIT\nUSER 1000:1000\n\
         HEALTHCHECK --retries=2 CMD /bin/server -c\nONBUILD RUN a\nSHELL [\"/bin/sh\", \"-ec\"]\n\
         ENTRYPOINT [\"/bin/server\"]\nCMD port 8080\n";
    let image = site.build(text);
    let run = serde_json::to_value(&image.config.config).unwrap();
    let expected = serde_json::json!({
        "User": "1000:1000", "ExposedPorts": {"8080/tcp": {}},
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PORT=8080", "NAME=two words"],
        "Entrypoint": ["/bin/server"], "Cmd": ["/bin/sh", "-ec", "port 8080"],
        "Volumes": {"/data": {}, "[x]": {}}, "WorkingDir": "/srv", "Labels": {"a": "b"}, "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["CMD-SHELL", "/bin/server -c"], "Retries": 2},
        "OnBuild": ["RUN a"], "Shell": ["/bin/sh", "-ec"],
    });
    assert_eq!(run, expected);
    assert_eq!(read(&image, "srv/www/css/a.css").as_deref(), Some("a{}"));
    assert_eq!(read(&image, "bin/server").as_deref(), Some("binary"));
    let history: Vec<_> = image
        .config
        .history
        .iter()
        .map(|h| (h.created_by.as_deref().unwrap(), h.empty_layer))
        .collect();
    assert_eq!(
        history[..4],
        [
            ("ENV PORT=8080 NAME=two words", true),
            ("WORKDIR /srv", false),
            ("COPY site ./www", false),
            ("COPY server /bin/", false),
        ]
    );
    let layers = history.iter().filter(|(_, empty)| !empty).count();
    assert_eq!(layers, image.config.rootfs.diff_ids.len());
}

#[test]
fn a_time_makes_builds_the_same() {
    let digests: Vec<_> = (0..2)
        .map(|round| {
            let mut site = Site::new(&[("a", "1"), ("d/b", "2")]);
            // Files younger than the time count as made then.
            let time = std::time::SystemTime::now() + std::time::Duration::from_secs(round * 1000);
            File::options()
                .append(true)
                .open(site.options.context.join("a"))
                .unwrap()
                .set_modified(time)
                .unwrap();
            site.options.epoch = Some(1_000_000_000);
            site.build("FROM scratch\nWORKDIR /w\nCOPY . /c/\nRUN /made=x\n").digest
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
    let site = Site::new(&[]);
    let created = site.build("FROM scratch\nUSER 1\n").config.created.unwrap();
    assert!(created.starts_with("20"), "{created}");
}

#[test]
fn what_is_unchanged_comes_from_the_cache() {
    let mut site = Site::new(&[("a", "1")]);
    let text = "FROM scratch\nARG V=1\nCOPY a /a\nRUN /b=x\nWORKDIR /w\nRUN --network=none /c=y\n";
    let first = site.build(text);
    assert_eq!(site.jobs().len(), 2);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    // Touched, not changed.
    let a = File::options()
        .append(true)
        .open(site.options.context.join("a"))
        .unwrap();
    a.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let again = site.build(text);
    assert_eq!((site.jobs().len(), &first.layers), (0, &again.layers));
    assert_eq!(site.events().matches("CACHED").count(), 4, "{}", site.events());
    assert_eq!(first.digest, again.digest, "nothing new gives the same image");
    // An ARG's value is part of the commands behind it, and of nothing before.
    site.options.arguments = vec![("V".to_string(), "2".to_string())];
    site.build(text);
    assert_eq!(site.jobs().len(), 2);
    assert!(site.events().contains("#2 CACHED"), "{}", site.events());
    site.options.arguments = vec![("HTTPS_PROXY".to_string(), "x".to_string())];
    site.options.proxies = site.options.arguments.clone();
    site.build(text);
    assert_eq!(site.jobs().len(), 0, "a proxy changes no key");
    fs::write(site.options.context.join("a"), "2").unwrap();
    site.build(text);
    assert_eq!(site.jobs().len(), 2);
    site.options.no_cache = true;
    site.build(text);
    assert_eq!(site.jobs().len(), 2);
    // It survives the image, until it is forgotten.
    site.options.no_cache = false;
    site.store.remove("x", &image::InUse::default(), false).unwrap();
    site.build(text);
    assert_eq!(site.jobs().len(), 0);
    site.store.remove("x", &image::InUse::default(), false).unwrap();
    site.store.forget_builds().unwrap();
    site.build(text);
    assert_eq!(site.jobs().len(), 2);
}

#[test]
fn stages_give_each_other_files() {
    let site = Site::new(&[("a", "1"), ("top/x/y.txt", "y")]);
    let text = "FROM scratch AS one\nCOPY --chown=5:6 --chmod=600 a /d/a\nFROM scratch as two\nRUN /never=1\n\
         FROM scratch AS three\nRUN /made=3\nFROM scratch\nCOPY --from=one /d /from-one\nCOPY --from=2 /made /m\n\
         COPY --from=ONE --chown=7 --chmod=u+x /d/a /e/\nCOPY --parents top/./x/*.txt /p/\n";
    let image = site.build(text);
    assert_eq!(site.jobs().len(), 1, "a stage that nobody needs is not built");
    assert_eq!(
        (owner(&image, "from-one/a"), mode(&image, "from-one/a")),
        ((5, 6), 0o600)
    );
    assert_eq!((owner(&image, "e/a"), mode(&image, "e/a")), ((7, 7), 0o700));
    assert_eq!(owner(&image, "from-one"), (0, 0));
    assert_eq!(read(&image, "m").as_deref(), Some("3"));
    assert_eq!(read(&image, "p/x/y.txt").as_deref(), Some("y"));
    let events = site.events();
    assert!(
        events.contains("[stage-3 5/5] COPY --parents top/./x/*.txt /p/"),
        "{events}"
    );
    assert!(events.contains("[three 2/2] RUN /made=3"), "{events}");
}

#[test]
fn passed_directories_keep_their_attributes() {
    let site = Site::new(&[("a", "1")]);
    let mut layer = site.store.new_layer().unwrap();
    layer.directory("tmp", 0o1777).unwrap();
    layer.symlink("var", "tmp").unwrap();
    let layer = layer.finish().unwrap();
    site.store
        .assemble(&"base".parse().unwrap(), vec![layer], Default::default())
        .unwrap();
    let image = site.build("FROM base\nCOPY a /tmp/a\nCOPY a /var/b\n");
    assert_eq!(mode(&image, "tmp"), 0o1777);
    assert!(at(&image, "tmp/b").is_some(), "the link is followed");
}

#[test]
fn copying_follows_the_reference() {
    let site = Site::new(&[
        (".dockerignore", "secret\n*.log\n!keep.log\n"),
        ("secret", "s"),
        ("a.log", ""),
        ("keep.log", "kept"),
        ("d/one.txt", "1"),
        ("d/two.md", "2"),
        ("d/sub/three.txt", "3"),
    ]);
    std::os::unix::fs::symlink("d/one.txt", site.options.context.join("link")).unwrap();
    let mut options = fs::metadata(site.options.context.join("d/sub")).unwrap().permissions();
    options.set_mode(0o700);
    fs::set_permissions(site.options.context.join("d/sub"), options).unwrap();
    let text = "FROM scratch\nCOPY . /all\nCOPY d /d\nCOPY d/*.txt link /t/\nCOPY --exclude=*.md --exclude=sub d /e\n\
         COPY none* /n/\nCOPY <<one <<\"two\" /docs/\n$PATH\none\n$PATH\ntwo\nADD http://host/dir/file.bin?x=1 /f/\n\
         ADD --chmod=640 http://host/z /g\n";
    let image = site.build(text);
    assert!(at(&image, "all/secret").is_none() && at(&image, "all/a.log").is_none());
    assert_eq!(read(&image, "all/keep.log").as_deref(), Some("kept"));
    assert!(at(&image, "d/one.txt").is_some() && at(&image, "d/d").is_none());
    assert_eq!((mode(&image, "d"), mode(&image, "d/sub")), (0o755, 0o700));
    assert_eq!(
        read(&image, "t/link").as_deref(),
        Some("1"),
        "a link that is named is followed"
    );
    assert!(at(&image, "all/link").unwrap().is_symlink(), "a link inside stays one");
    assert!(at(&image, "e/one.txt").is_some() && at(&image, "e/two.md").is_none() && at(&image, "e/sub").is_none());
    assert!(at(&image, "n").is_none());
    assert!(read(&image, "docs/one").unwrap().starts_with("/usr/local"));
    assert_eq!(read(&image, "docs/two").as_deref(), Some("$PATH\n"));
    let file = at(&image, "f/file.bin").unwrap().metadata().unwrap();
    assert_eq!((file.mode() & 0o7777, file.mtime()), (0o600, 1_000_000_000));
    assert_eq!(mode(&image, "g"), 0o640);
}

#[test]
fn archives_are_unpacked_by_add_alone() {
    let site = Site::new(&[]);
    let context = &site.options.context;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o4711);
    header.set_uid(9);
    header.set_gid(9);
    header.set_size(1);
    tar.append_data(&mut header, "in/side", &b"x"[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar).unwrap();
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz.write_all(&tar).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    xz.write_all(&tar).unwrap();
    fs::write(context.join("plain"), &tar).unwrap();
    fs::write(context.join("gz"), gz.finish().unwrap()).unwrap();
    fs::write(context.join("bz"), bz.finish().unwrap()).unwrap();
    fs::write(context.join("xz"), xz.finish().unwrap()).unwrap();
    fs::write(context.join("zst"), zstd::encode_all(tar.as_slice(), 1).unwrap()).unwrap();
    fs::write(context.join("text"), "no archive").unwrap();
    let mut text = "FROM scratch\nCOPY plain /copied\nADD text /text\nADD --unpack=false gz /kept\n".to_string();
    for kind in ["plain", "gz", "bz", "xz", "zst"] {
        text.push_str(&format!("ADD {kind} /{kind}\n"));
    }
    text.push_str("ADD --chown=3:4 gz /owned/\n");
    let image = site.build(&text);
    for kind in ["plain", "gz", "bz", "xz", "zst"] {
        let path = format!("{kind}/in/side");
        assert_eq!((mode(&image, &path), owner(&image, &path)), (0o4711, (9, 9)), "{kind}");
    }
    assert_eq!(owner(&image, "owned/in/side"), (3, 4));
    assert!(at(&image, "copied").unwrap().is_file() && at(&image, "kept").unwrap().is_file());
    assert_eq!(read(&image, "text").as_deref(), Some("no archive"));
}

#[test]
fn what_comes_later_wins_over_an_archive() {
    let site = Site::new(&[("side", "later"), ("x", "more")]);
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [("side", "archived"), ("own", "archived")] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let path = site.options.context.join("tar");
    let mut tar = tar.into_inner().unwrap();
    fs::write(&path, &tar).unwrap();
    let text = "FROM scratch\nADD tar side x /d/\nADD side tar /e/\n";
    let image = site.build(text);
    let file = |path: &str| read(&image, path).unwrap();
    assert_eq!(
        [file("d/side"), file("d/own"), file("d/x")],
        ["later", "archived", "more"]
    );
    assert_eq!(file("e/side"), "archived");
    let again = site.build(text);
    assert_eq!(site.events().matches("CACHED").count(), 2, "{}", site.events());
    assert_eq!(again.id, image.id);
    // An archive is another one when its bytes are.
    tar.extend([0; 512]);
    fs::write(&path, tar).unwrap();
    site.build(text);
    assert_eq!(site.events().matches("CACHED").count(), 0, "{}", site.events());
}

#[test]
fn commands_get_what_they_ask_for() {
    let mut site = Site::new(&[("src/a", "1"), ("src/b", "2"), (".dockerignore", "src/b")]);
    site.options.secrets.insert("key".to_string(), b"hidden".to_vec());
    site.options.proxies = vec![("http_proxy".to_string(), "p".to_string())];
    let text = "FROM scratch AS tools\nCOPY src/a /tool\nFROM scratch\nENV A=1\nARG B=2\nUSER 5:6\nWORKDIR /w\n\
         RUN --mount=type=cache,target=cache,mode=0700,uid=5 --mount=type=tmpfs,target=/t,size=1m \\\n\
         --mount=type=secret,id=key --mount=type=secret,id=key,env=KEY --mount=type=secret,id=none \\\n\
         --mount=source=src,target=/src --mount=from=tools,target=/tools,rw --network=none /out=x\n\
         RUN <<EOF\none\ntwo\nEOF\nRUN <<EOF\n#!/bin/python\nx\nEOF\nRUN cat <<A <<-\"B\" > f\na\nA\n\tb\n\tB\n";
    let image = site.build(text);
    let jobs = site.jobs();
    let job = &jobs[0];
    assert_eq!((job.uid, job.gid, job.cwd.as_str()), (5, 6, "/w"));
    assert_eq!(job.network, image::Network::None);
    for variable in ["A=1", "B=2", "KEY=hidden", "http_proxy=p"] {
        assert!(
            job.env.iter().any(|entry| entry == variable),
            "{variable}: {:?}",
            job.env
        );
    }
    let source = |target: &str| {
        job.mounts
            .iter()
            .find(|mount| mount.target == target)
            .map(|mount| &mount.source)
    };
    assert!(
        matches!(source("/w/cache"), Some(Source::Host { path, read_only: false }) if path.metadata().unwrap().uid() == 5)
    );
    assert!(matches!(source("/t"), Some(Source::Tmpfs { size: Some(1_048_576) })));
    assert!(
        matches!(source("/run/secrets/key"), Some(Source::Secret { content, mode: 0o400, .. }) if content == b"hidden")
    );
    assert!(source("/run/secrets/none").is_none());
    assert!(matches!(source("/src"), Some(Source::Host { read_only: true, .. })));
    assert!(matches!(
        source("/tools"),
        Some(Source::Layers { scratch: Some(_), .. })
    ));
    assert_eq!(jobs[1].args, ["/bin/sh", "-c", "one\ntwo\n"]);
    assert_eq!(jobs[2].args, ["/bin/sh", "-c", "/dev/pipes/EOF"]);
    assert!(jobs[2].mounts.iter().any(|mount| mount.target == "/dev/pipes/EOF"));
    assert_eq!(jobs[3].args[2], "cat <<A <<-\"B\" > f\na\nA\n\tb\nB");
    let history = serde_json::to_string(&image.config).unwrap();
    assert!(
        !history.contains("hidden") && history.contains("RUN |1 B=2 /bin/sh -c /out=x"),
        "{history}"
    );
    site.build(text);
    assert!(site.jobs().is_empty());
    fs::write(site.options.context.join("src/b"), "changed").unwrap();
    site.build(text);
    assert!(site.jobs().is_empty(), "what is ignored changes nothing");
    fs::write(site.options.context.join("src/a"), "changed").unwrap();
    site.build(text);
    assert!(!site.jobs().is_empty());
}

#[test]
fn triggers_are_done_by_the_image_above_and_then_forgotten() {
    let mut site = Site::new(&[("a", "1")]);
    site.build("FROM scratch\nONBUILD COPY a /triggered\nONBUILD ENV X=1\n");
    site.options.names = vec!["child".parse().unwrap()];
    let child = site.build("FROM x\nENV Y=$X\n");
    assert_eq!(read(&child, "triggered").as_deref(), Some("1"));
    assert_eq!(child.config.config.env[1..], ["X=1", "Y=1"]);
    assert!(!child.config.config.other.contains_key("OnBuild"));
}

#[test]
fn named_contexts_and_arguments() {
    let mut site = Site::new(&[("a", "1")]);
    let other = site.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("b"), "2").unwrap();
    site.options
        .contexts
        .insert("side".to_string(), other.to_string_lossy().into_owned());
    site.build("FROM scratch\nCOPY a /a\n");
    site.options
        .contexts
        .insert("img".to_string(), "docker-image://x".to_string());
    site.options.arguments = [("TAG", "img"), ("GIVEN", "g"), ("UNUSED", "u")]
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .to_vec();
    site.options.names = vec!["y".parse().unwrap()];
    let text = "ARG TAG=other\nARG WHOLE=w\nFROM $TAG\nARG WHOLE\nARG GIVEN=default\nARG TARGETARCH\n\
         LABEL v=\"$WHOLE $GIVEN $TARGETARCH $TAG\"\nCOPY --from=side b /b\nCOPY --from=img a /c\n";
    let image = site.build(text);
    let label = &image.config.config.labels["v"];
    assert!(
        label.starts_with("w g ") && label.ends_with(' ') && label.len() > 7,
        "{label:?}"
    );
    assert_eq!(
        (read(&image, "b"), read(&image, "c")),
        (Some("2".to_string()), Some("1".to_string()))
    );
    assert!(
        site.events()
            .contains("WARN no ARG asks for these build arguments: UNUSED"),
        "{}",
        site.events()
    );
}

#[test]
fn images_that_are_not_here_are_pulled_once() {
    let site = Site::new(&[]);
    site.build("FROM scratch\nRUN /old=1\n");
    *site.machine.registry.lock().unwrap() = Some((site.store.clone(), "x".to_string()));
    let text = "FROM base AS a\nFROM base AS b\nFROM base\nCOPY --from=a /old /a\nCOPY --from=b /old /b\n\
                COPY --from=other /old /c\n";
    let image = site.build(text);
    assert_eq!(read(&image, "c").as_deref(), Some("1"));
    let asked = || BTreeSet::from_iter(site.machine.asked_for.lock().unwrap().drain(..));
    assert_eq!(asked(), BTreeSet::from(["base", "other"].map(String::from)));
    assert!(site.events().contains("pulling base"), "{}", site.events());
    site.build(text);
    assert!(asked().is_empty());
}

#[test]
fn with_pull_the_registry_is_asked_for_what_is_here() {
    let mut site = Site::new(&[]);
    site.build("FROM scratch\nRUN /f=old\n");
    site.store.tag("x", &"base".parse().unwrap()).unwrap();
    site.build("FROM scratch\nRUN /f=new\n");
    site.store.tag("x", &"newer".parse().unwrap()).unwrap();
    *site.machine.registry.lock().unwrap() = Some((site.store.clone(), "newer".to_string()));
    assert_eq!(read(&site.build("FROM base\n"), "f").as_deref(), Some("old"));
    site.options.pull = true;
    assert_eq!(read(&site.build("FROM base\n"), "f").as_deref(), Some("new"));
    *site.machine.registry.lock().unwrap() = None;
    let error = site.try_build("FROM base\n").unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("base is nowhere"), "{error}");
}

#[test]
fn what_cannot_be_done_is_named_with_its_line() {
    let site = Site::new(&[("a", "1"), ("d/x", "")]);
    for (text, line, word) in [
        ("FROM scratch\nWHATEVER x\n", 2, "WHATEVER"),
        ("FROM nothing:here\n", 1, "nothing:here"),
        ("FROM scratch\nCOPY missing /\n", 2, "missing"),
        ("FROM scratch\nCOPY ../../etc/passwd /\n", 2, "etc/passwd"),
        ("FROM scratch\nCOPY a d /x\n", 2, "end with a /"),
        ("FROM scratch\nCOPY a /f\nCOPY d /f\n", 3, "/f"),
        ("FROM scratch\nCOPY --chown=who a /f\n", 2, "who"),
        ("FROM scratch\nCOPY --chmod=abc a /f\n", 2, "abc"),
        ("FROM scratch\nCOPY http://x/y /f\n", 2, "ADD"),
        ("FROM scratch\nADD https://x/y.git /f\n", 2, "git"),
        ("FROM scratch\nADD --checksum=sha256:00 http://x/y /f\n", 2, "digest"),
        ("FROM scratch\nRUN fail\n", 2, "exit code: 3"),
        ("FROM scratch\nRUN --mount=type=ssh x\n", 2, "ssh"),
        ("FROM scratch\nRUN --mount=type=secret,id=no,required x\n", 2, "no"),
        ("FROM scratch\nUSER nobody\nRUN x\n", 3, "nobody"),
        ("FROM scratch\nSTOPSIGNAL WHAT\n", 2, "WHAT"),
        ("FROM scratch\nENV A=${B:?wanted}\n", 2, "wanted"),
        (
            "FROM scratch AS a\nRUN fail\nFROM scratch\nCOPY --from=a / /\n",
            2,
            "exit code",
        ),
    ] {
        match site.try_build(text) {
            Err(Error::Dockerfile { line: found, reason }) => {
                assert_eq!(found, line, "{text:?}: {reason}");
                assert!(reason.contains(word), "{text:?}: {reason}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
        let rooms = [&site.options.workspace, &site.dir.path().join("images/tmp")];
        let left = |dir: &&Path| fs::read_dir(dir).unwrap().count();
        assert_eq!(
            rooms.iter().map(|dir| left(&dir.as_path())).sum::<usize>(),
            0,
            "{text:?} leaves something"
        );
    }
}
