"""`agent-python`: the script that starts a bundle's Python, on whatever the device has for a C library."""

from string import Template

from chamnet_host.bundles.manifest import COMPILED, WRITABLE
from chamnet_host.bundles.recipe import Recipe

__all__ = ["LAUNCHER", "launcher_text"]

LAUNCHER = "agent-python"

# The environment of a parent process must not reach in: its Python and its libraries are not ours. A path that begins
# with ours was set here, for the process that starts this one; what it added stays. `--argv0` makes sys.executable this
# script, for the program loader of a device cannot start python itself.
_TEXT = Template("""\
#!$shell
# Starts the Python of this bundle: agent-python -m chamnet_agent serve
case "$$0" in */*) here=$${0%/*} ;; *) here=. ;; esac
here=$$(CDPATH= cd -- "$$here" && pwd) || exit 1
unset LD_PRELOAD LD_LIBRARY_PATH PYTHONSTARTUP PYTHONDONTWRITEBYTECODE
case "$${PYTHONPATH:-}" in
  "$$here/site:$$here/agent"*) ;;
  *) PYTHONPATH=$$here/site:$$here/agent ;;
esac
[ -d "$$here/$writable/tmp" ] || mkdir -p "$$here/$writable/tmp" "$$here/$writable/home" 2>/dev/null
export PYTHONPATH PYTHONHOME="$$here/py" PYTHONNOUSERSITE=1 PYTHONUTF8=1 \\
  PYTHONPYCACHEPREFIX="$$here/$compiled"$folders
exec "$$here/lib/$loader" --inhibit-cache --library-path "$$here/lib" --argv0 "$$here/$launcher" \\
  "$$here/py/bin/python3" "$$@"
""")

_FOLDERS = ' TMPDIR="$here/{0}/tmp" HOME="$here/{0}/home"'  # Android's shell has neither that can be written


def launcher_text(recipe: Recipe) -> str:
    """Return the script."""
    return _TEXT.substitute(
        shell=recipe.shell,
        loader=recipe.loader,
        launcher=LAUNCHER,
        writable=WRITABLE,
        compiled=COMPILED,
        folders=_FOLDERS.format(WRITABLE) if recipe.os == "android" else "",
    )
