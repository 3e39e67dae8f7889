"""A virtual environment that has some packages in other versions, and all else from this one."""

from __future__ import annotations

import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from pytest_rayperf.errors import ConfigurationError

INSTALL_LIMIT_S = 1800.0


def environment_with(requirements: Sequence[str], folder: Path) -> Path:
    """The Python of a new environment in `folder`, in which these requirements are installed.

    What they do not name is that of this environment: its folders of packages stand behind the new one's.

    Raises:
        ConfigurationError: it cannot be made, or pip cannot install them; the text ends with what pip said.
    """
    option = " ".join(f"--rayperf-against-env {one}" for one in requirements)
    try:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigurationError(
            f"{option}: no virtual environment can be made in {folder} ({error})"
        ) from error
    python = folder / "bin" / "python"
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"  # Python 3.10
    packages = Path(sysconfig.get_path("purelib", scheme, {"base": str(folder), "platbase": str(folder)}))
    # addsitedir, and not the folders alone: what is installed editable here stands in .pth files of theirs.
    lines = [f"import site; site.addsitedir({one!r})" for one in _own_packages()]
    (packages / "_rayperf_near_side.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-input"]
    try:
        done = subprocess.run(
            [*command, *requirements], capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{option}: pip did not come to an end ({error})") from error
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ConfigurationError(
            f"{option}: pip cannot install that: {said}\n(it needs pip 22.3 or newer in this environment: "
            "python -m pip --version)"
        )
    return python


def _own_packages() -> list[str]:
    """This interpreter's folders of packages, those of a virtual environment first."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return [folder for folder in dict.fromkeys(folders) if Path(folder).is_dir()]
