"""The package's front door, and the package as it is installed."""

import subprocess
import sys
import zipfile

import pytest

import grad
from grad.course.places import PACKAGE

ROOT = PACKAGE.parent


def python(code, *flags, cwd=None):
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_grad_imports_nothing_else():
    code = "import sys; old = set(sys.modules); import grad; print(set(sys.modules) - old)"
    assert python(code) == "{'grad'}"


@pytest.mark.parametrize("name, home", grad.HOMES.items())
def test_a_public_name_is_found_in_its_home(name, home):
    assert getattr(grad, name) is getattr(getattr(grad, home), name)
    assert name in dir(grad) and name in grad.__all__


def test_no_public_name_is_the_name_of_a_module():
    """Importing grad/x.py binds grad.x to that module, whatever the table says."""
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert not modules & set(grad.HOMES)


def test_a_module_is_found_by_its_name(toy):
    (toy.package / "draw.py").write_text("x = 1\n", encoding="utf-8")
    assert python("import grad; print(grad.draw.x, 'draw' in dir(grad))", cwd=toy.root) == "1 True"


def test_a_name_that_no_chapter_has_made_yet_says_so(toy):
    name, home = next(iter(grad.HOMES.items()))
    code = f"try:\n from grad import {name}\nexcept ImportError as error:\n print(error)"
    said = python(code, cwd=toy.root)
    assert said == f"grad.{name} lives in grad.{home}, and no chapter has made that module yet"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'grad' has no attribute 'Tensr'"):
        _ = grad.Tensr
    assert not hasattr(grad, "Tensr")


def test_a_module_that_lacks_something_else_says_what(toy):
    (toy.package / "draw.py").write_text("import no_such_package\n", encoding="utf-8")
    code = "import grad\ntry:\n grad.draw\nexcept ImportError as error:\n print(error)"
    assert python(code, cwd=toy.root) == "No module named 'no_such_package'"


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_runs_outside_the_checkout(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    made = subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
    )
    if made.returncode and "hatchling" in made.stderr:
        pytest.skip("no connection to fetch the build backend")
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("grad-*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    own = [p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*") if "cache" not in str(p)]
    assert {name for name in own if "." in name} <= set(held)
    assert all(name.startswith("grad") for name in held)

    place = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(place), str(wheel)], check=True)
    inside = f"import sys; sys.path.insert(0, {str(place)!r}); import grad; "
    assert str(place) in python(inside + "print(grad.__file__)", cwd=tmp_path)
    assert "course.plain" in python(
        inside + "import matplotlib.style as s; s.use('grad.course.plain'); print('course.plain')",
        cwd=tmp_path,
    )
    command = inside + "from grad.course.cli import main; sys.exit(print(main(['build'])))"
    assert python(command, cwd=tmp_path) == "2"


def test_sgd_is_the_one_that_fits_its_parameters():
    from grad import SGD, Tensor, Value, descent, optim

    assert type(SGD([Value(1.0)], 0.1)) is optim.SGD
    assert type(SGD(iter([Tensor([1.0])]), lr=0.1, momentum=0.9)) is descent.SGD
    for wrong in ([], [1.0]):
        with pytest.raises((ValueError, TypeError)):
            SGD(wrong)
