//! Images for tests: of one static program each, so that nothing has to be pulled.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Makes a directory below `dir` with a program and a Dockerfile, to build an image from. The program is its entrypoint.
pub fn directory(dir: &Path, name: &str, program: &[u8]) -> io::Result<PathBuf> {
    let dir = dir.join(name);
    std::fs::create_dir_all(&dir)?;
    let file = dir.join(name);
    std::fs::write(&file, program)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    let dockerfile = format!("FROM scratch\nCOPY {name} /bin/{name}\nENV PATH=/bin\nENTRYPOINT [\"/bin/{name}\"]\n");
    std::fs::write(dir.join("Dockerfile"), dockerfile)?;
    Ok(dir)
}
