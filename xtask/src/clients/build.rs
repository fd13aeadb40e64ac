//! `gantry image build` against buildah: the same Dockerfiles must give the same files and the same configuration.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::case::{Case, Stage};
use super::tools;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "images as buildah builds them",
        run: oracle,
    },
    Case {
        name: "building: cache, secrets, stages, failure",
        run: everyday,
    },
];

/// Builds that both must agree on. Each has `rootfs` with busybox, `a.txt`, `d/` and `ignored` beside it.
const FILES: &[(&str, &str)] = &[
    (
        "configuration",
        // The shell comes last: buildah 1.28 doesn't heed it in CMD, as the reference says that it must be.
        "ARG BASE=scratch\nFROM $BASE\nLABEL a=b \"c d\"=\"e f\"\nENV A=1 B=\"two words\"\nENV C=$A/${B:-x}${D:+y}\n\
         EXPOSE 80 53/udp\nUSER 5:6\nVOLUME /data /more\nSTOPSIGNAL SIGQUIT\nWORKDIR /w\nWORKDIR sub\n\
         HEALTHCHECK --interval=5s --retries=3 CMD test -e /x\nONBUILD COPY a.txt /\n\
         ENTRYPOINT [\"/bin/sh\"]\nCMD one two\nSHELL [\"/bin/sh\", \"-ec\"]\n",
    ),
    (
        "copies",
        "FROM scratch\nCOPY a.txt /one\nCOPY a.txt /dir/\nCOPY d /d\nCOPY d/*.txt /txt/\nCOPY --chown=7:8 --chmod=640 a.txt /owned\n\
         ADD packed.tar.gz /unpacked/\nCOPY packed.tar.gz /packed\nWORKDIR /w/x\nCOPY a.txt .\nCOPY . /all/\n",
    ),
    (
        "commands",
        "FROM scratch\nCOPY rootfs /\nARG V=5\nENV E=6\nRUN mkdir -p /etc /tmp/x/y && chmod 1777 /tmp && echo $V$E > /etc/v\n\
         RUN echo 'web:x:33:33::/:/bin/sh' > /etc/passwd && echo 'web:x:33:' > /etc/group\n\
         RUN ln /etc/v /etc/hard && ln -s v /etc/soft && mkfifo /etc/pipe && rm -r /tmp/x && rm /bin/yes\n\
         RUN rm -r /etc/none 2>/dev/null; mkdir /old && touch /old/a && rm -r /old && mkdir /old && touch /old/b\n\
         USER web\nWORKDIR /tmp\nRUN id -u > /tmp/id && [ \"$(pwd)\" = /tmp ]\n",
    ),
    (
        "stages",
        "FROM scratch AS base\nCOPY rootfs /\nFROM base AS one\nRUN mkdir /out && echo 1 > /out/one && chown 9:9 /out/one\n\
         FROM base AS two\nCOPY --from=one /out/ /in/\nRUN cat /in/one > /two\nFROM scratch\nCOPY --from=two /two /x/\n\
         COPY --from=1 /out /y\nCOPY --from=base /bin/busybox /z\n",
    ),
];

/// buildah with its files among the house's.
const BUILDAH: &str = "buildah --storage-driver vfs --root $WORK/buildah/root --runroot $WORK/buildah/run";

const LISTING: &str = "find . -path ./proc -prune -o -path ./sys -prune -o -path ./dev -prune -o -path ./run -prune -o \
    ! -path . -printf '%p %y %m %U:%G %l\\n' | grep -v -e '^./etc/hosts ' -e '^./etc/resolv.conf ' -e '^./etc/hostname ' | sort; \
    find . -type f ! -path './etc/hosts' ! -path './etc/resolv.conf' ! -path './etc/hostname' -exec sha256sum {} + | sort -k2";

fn oracle(stage: &Stage<'_>) -> anyhow::Result<()> {
    tools::program("buildah", "buildah")?;
    stage.sh("mkdir -p c/d/sub && cp -a $WORK/tools/rootfs c/ && echo a > c/a.txt && echo 1 > c/d/1.txt && echo 2 > c/d/2.md")?;
    stage.sh(
        "echo x > c/d/sub/x && chmod 750 c/d/sub && ln -s 1.txt c/d/link && echo no > c/ignored && chown -R 0:0 c",
    )?;
    stage.sh("echo ignored > c/.dockerignore && tar -C c/d -czf c/packed.tar.gz --owner=3 --group=4 1.txt sub")?;
    for (name, text) in FILES {
        stage.write("c/Dockerfile", text)?;
        stage.sh(&format!("gantry image build -t gantry.local/oracle:{name} c && gantry image export -o {name}.tar gantry.local/oracle:{name}"))?;
        stage.sh(&format!(
            "{BUILDAH} bud --isolation chroot --format docker -t theirs-{name} c"
        ))?;
        stage.sh(&format!(
            "{BUILDAH} pull -q docker-archive:$PWD/{name}.tar > ours-{name}"
        ))?;
        let image = |which: &str| match which {
            "ours" => format!("$(cat ours-{name})"),
            which => format!("{which}-{name}"),
        };
        let mut seen = Vec::new();
        for which in ["ours", "theirs"] {
            let container = format!("{which}-{name}-c");
            // It carries out what is to be done ON BUILD, and copies from where it stands.
            stage.sh(&format!(
                "IMAGE={}; cd c && {BUILDAH} from --name {container} $IMAGE",
                image(which)
            ))?;
            let files = stage.sh(&format!("cd $({BUILDAH} mount {container}) && {LISTING}"))?;
            let config = stage.sh(&format!("{BUILDAH} inspect --type image {}", image(which)))?;
            seen.push((files, configuration(&config)?));
        }
        stage.sh(&format!("{BUILDAH} rm -a"))?;
        let [(our_files, ours), (their_files, theirs)] = &seen[..] else {
            continue;
        };
        ensure!(
            our_files == their_files,
            "{name}: files differ\n{}",
            difference(our_files, their_files)
        );
        ensure!(
            ours == theirs,
            "{name}: configurations differ:\n{ours:#}\nbuildah:\n{theirs:#}"
        );
    }
    stage.sh(&format!("{BUILDAH} rmi -a -f; rm -rf $WORK/buildah"))?;
    for (name, _) in FILES {
        stage.sh(&format!("gantry image rm gantry.local/oracle:{name}"))?;
    }
    Ok(())
}

/// What counts of a configuration.
fn configuration(inspected: &str) -> anyhow::Result<Value> {
    let value: Value = serde_json::from_str(inspected).context("reading buildah's answer")?;
    let config = &value["Docker"]["config"];
    let mut found = json!({});
    for key in [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "StopSignal",
        "Healthcheck",
        "OnBuild",
        "Shell",
        "Labels",
    ] {
        let mut value = config[key].clone();
        if let Some(labels) = value.as_object_mut() {
            labels.remove("io.buildah.version");
        }
        let empty =
            value.is_null() || value == json!([]) || value == json!({}) || value == json!("") || value == json!("/");
        if !empty {
            found[key] = value;
        }
    }
    Ok(found)
}

/// Lines that only one has.
fn difference(ours: &str, theirs: &str) -> String {
    let only = |mark: &str, these: &str, those: &str| -> String {
        these
            .lines()
            .filter(|line| !those.lines().any(|other| other == *line))
            .map(|line| format!("{mark} {line}\n"))
            .collect()
    };
    only("gantry ", ours, theirs) + &only("buildah", theirs, ours)
}

/// What people see of a build.
fn everyday(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.sh("mkdir -p c && cp -a $WORK/tools/rootfs c/ && echo hidden > key")?;
    stage.write(
        "c/Dockerfile",
        "FROM scratch AS base\nCOPY rootfs /\nFROM base AS bad\nRUN echo to be seen; false\nFROM base\n\
         RUN --mount=type=cache,target=/c echo x >> /c/n; wc -l < /c/n\n\
         RUN --mount=type=secret,id=key,target=/run/key cat /run/key | tr a-z A-Z\nRUN ! ls /run/key\n\
         RUN --network=none ip link | grep -c : > /links; nslookup localhost >/dev/null 2>&1; true\nUSER 7\nRUN id -u\n",
    )?;
    let build = "gantry image build --progress=plain --secret id=key,src=key -t gantry.local/everyday:1";
    stage.says(&format!("{build} --iidfile id c"), "HIDDEN")?;
    stage.says(&format!("{build} c"), "CACHED")?;
    stage.refuses(&format!("{build} c | grep -q HIDDEN"), "")?;
    stage.prints(&format!("{build} -q c"), &stage.sh("cat id")?)?;
    stage.says(&format!("{build} --no-cache c"), "HIDDEN")?;
    stage.refuses(&format!("{build} --target bad c"), "exit code: 1")?;
    stage.refuses(&format!("{build} --target bad c"), "to be seen")?;
    stage.refuses(&format!("{build} --platform linux/riscv64 c"), "riscv64")?;
    // Told to end in the middle of a command, it leaves nothing.
    stage.write("c/Dockerfile", "FROM scratch\nCOPY rootfs /\nRUN sleep 4321\n")?;
    stage.sh("timeout -s INT 3 gantry image build -t gantry.local/long:1 c; [ $? = 124 ] || [ $? = 1 ]")?;
    stage.refuses("pgrep -f 'sleep 432[1]'", "")?;
    // Killed, the next one cleans up after it.
    stage.sh("gantry image build -t gantry.local/long:1 c & B=$!; until pgrep -f 'sleep 432[1]' >/dev/null; do sleep 0.1; done; kill -9 $B; wait")?;
    stage.sh(&format!(
        "{build} -q --target base -f - c <<< $'FROM scratch AS base\\nCOPY rootfs /'"
    ))?;
    stage.refuses("pgrep -f 'sleep 432[1]'", "")?;
    stage.prints("ls $GANTRY_DATA_DIR/node/images/build/rooms | wc -l", "0")?;
    stage.sh("gantry image rm gantry.local/everyday:1")?;
    Ok(())
}
