"""After Hydra refused a command line: find every override that is wrong, with the nearest valid names.

Hydra stops at the first problem. Only when it has stopped, each override is tried by itself on top of the group
choices that are valid, so that all problems are reported together, those of our own validator included.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from pretune.config.axes import split_parts
from pretune.config.kinds import WORDS, describe_kind, find_type, is_list
from pretune.config.library import list_options
from pretune.config.schema import NOT_DELETED, SCRIPTS, freeze
from pretune.config.validation import find_problems
from pretune.errors import ConfigError, Problem, suggest, suggest_key

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override


log = logging.getLogger(__name__)

QUOTING = """special characters need quotes inside the shell's: 'key="value"'"""

GRAMMAR = re.compile(r"mismatched input|extraneous input|no viable alternative|missing .* at ")
"""How the grammar's own messages begin."""

CONVERSION = re.compile(r"could not be converted to (Integer|Float)$")
"""How omegaconf refuses a value of Hydra's own keys."""

LONGEST_KEY = 255
"""Letters of a file's name on common systems."""


def is_refusal(error: BaseException) -> bool:
    """Whether Hydra refused a command line by ``error``.

    A choice that is no name it refuses by a plain ValueError, a key below one that is null by an AssertionError.
    """
    from hydra.errors import CompactHydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, CompactHydraException | OmegaConfBaseException):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return True
    if isinstance(error, AssertionError):
        return str(error).startswith("Unexpected type")
    return isinstance(error, ValueError) and str(error).startswith("Config group override")


def diagnose(error: Exception, argv: Sequence[str]) -> str:
    """One message about everything that is wrong with the command line ``argv``, which Hydra refused by ``error``."""
    script = Path(argv[0]).resolve()
    if script.stem not in SCRIPTS or not (script.parent / "conf").is_dir():
        return first_lines(error)
    from hydra import initialize_config_dir
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra

    arguments = get_args_parser().parse_args(list(argv[1:]))
    if arguments.config_dir or arguments.config_path:
        return first_lines(error)  # what is valid depends on folders that are not looked through here
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(script.parent / "conf"), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            found = find_all(script.stem, arguments.overrides, loader, sweeping=arguments.multirun)
            problems = list({str(problem): problem for problem in found}.values())
    except Exception as other:  # noqa: BLE001 - whatever goes wrong here, Hydra's own message is the better one
        log.debug("looking for more problems: %r", other)
        problems = []
    if problems:
        return str(ConfigError(problems))
    computed = [f"  in {text}" for text in argv[1:] if "${" in text and "nterpolation" in str(error)]
    return "\n".join([first_lines(error), *computed])


def first_lines(error: BaseException) -> str:
    """Hydra's message without the lines that only help Hydra's developers, and the reason beneath it."""
    lines = [line for line in str(error).splitlines() if line.strip() and "provider=" not in line]
    lines = [
        line for line in lines if not line.startswith(("Config search path", "    object_type", "    reference_type"))
    ]
    cause = error.__cause__
    if cause is not None and str(cause) not in str(error):
        lines += [f"  {str(cause).splitlines()[0]}"]
    return "\n".join(lines)


def parse_all(overrides: Iterable[str], parser: OverridesParser) -> Iterator[Override | Problem]:
    """Read each override, the parts of ``pairs=`` and ``only=`` in their place; what cannot be read is a problem."""
    from hydra.errors import HydraException

    for text in overrides:
        key, equals, value = text.partition("=")
        if not key.strip() or not (equals or key.startswith("~")):
            yield Problem(key=key, value=value, message="is not of the form key=value", typed=text or "''")
            continue
        if len(key) > LONGEST_KEY:  # looked up as a file's name
            yield Problem(key=f"{key[:40]}…", value=value, message=f"no key has {len(key)} letters")
            continue
        try:
            override = parser.parse_override(text)
            if override.key_or_group in ("pairs", "only"):
                yield from parse_all(split_parts(override), parser)
            else:
                yield override
        except HydraException as error:
            yield Problem(key=key, value=value, message=describe_syntax(value, first_lines(error).splitlines()[0]))
        except ConfigError as error:
            yield from error.problems


def describe_syntax(value: str, reason: str) -> str:
    """What is wrong with a value that Hydra's grammar does not take for ``reason``."""
    if value.rstrip().endswith(","):
        return "ends with a comma: a value is missing"
    if GRAMMAR.match(reason):
        reason = "is not closed, or has a special character"
    return f"{reason.replace('token recognition error at:', 'cannot hold')} ({QUOTING})"


def find_all(script: str, overrides: Sequence[str], loader: ConfigLoader, *, sweeping: bool) -> Iterable[Problem]:
    """Yield what is wrong with each override by itself, then what the validator says of all valid ones."""
    from hydra.core.object_type import ObjectType
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create(config_loader=loader)
    choices: list[str] = []
    values: list[str] = []
    for override in parse_all(overrides, parser):
        if isinstance(override, Problem):
            yield override
            continue
        if override.is_sweep_override() and not sweeping:
            key, value = override.key_or_group, str(override.input_line).partition("=")[2]
            listed = override.is_choice_sweep() and is_list(find_type(SCRIPTS[script], key))
            written = f"; one list is written {key}=[{value}]" if listed else ""
            yield Problem(key=key, value=value, message=f"several values need -m{written}")
            if listed:
                continue
        is_group = bool(loader.get_group_options(override.key_or_group, ObjectType.CONFIG))
        (choices if is_group else values).extend(single_values(override))
    valid: list[str] = []
    for text in choices:
        problem = try_override(script, loader, [], text)
        if problem is None:
            valid = [other for other in valid if other.split("=")[0] != text.split("=")[0]] + [text]
        else:
            yield problem
    kept = list(valid)
    unknown: set[str] = set()
    for text in values:
        problem = try_override(script, loader, valid, text)
        if problem is None:
            kept.append(text)
        elif problem.key not in unknown:
            yield problem
            if find_type(SCRIPTS[script], problem.key) is None:
                unknown.add(problem.key)  # whatever its value
    config = compose(script, loader, kept)
    yield from find_problems(freeze(SCRIPTS[script], config))


def single_values(override: Override) -> list[str]:
    """An override as texts with one value each."""
    if override.is_sweep_override() and override.is_discrete_sweep():
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return [str(override.input_line)]


def compose(script: str, loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig:
    """Compose a script's configuration without its ``hydra`` node."""
    from hydra import compose as hydra_compose

    return hydra_compose(script, overrides=list(overrides))


def try_override(script: str, loader: ConfigLoader, base: Sequence[str], text: str) -> Problem | None:
    """Compose ``base`` with one more override; say what is wrong with it, or ``None``."""
    try:
        compose(script, loader, [*base, text])
    except Exception as error:  # noqa: BLE001 - every refusal becomes a message
        return explain_override(script, loader, base, text, error)
    return None


def explain_override(script: str, loader: ConfigLoader, base: Sequence[str], text: str, error: Exception) -> Problem:
    """Turn Hydra's refusal of one override into key, value and what would be right."""
    key, equals, value = text.partition("=")
    name = key.lstrip("+~")
    options = list_options(loader, name)
    hint = find_type(SCRIPTS[script], name)
    if "No match in the defaults list" in str(error) or "Could not override" in str(error):
        message = describe_unknown(script, loader, base, name)
    elif options:
        if value not in options:
            message = suggest(value, options)
            value = value or "''"
        else:  # the option exists, but does not compose
            message = first_lines(error)
    elif isinstance(error, AssertionError):
        message = describe_null(compose(script, loader, base), name)
    elif hint is not None and key.startswith("~"):
        message = NOT_DELETED
    elif hint is not None and "Error merging override" in str(error):
        message = describe_kind(name, value, hint)
    else:
        message = str(error.__cause__ or error).splitlines()[0]
        if converted := CONVERSION.search(message):
            message = f"must be {WORDS[{'Integer': int, 'Float': float}[converted[1]]]}"
    return Problem(key=key, value=value, message=message, typed=None if equals else text)


def describe_unknown(script: str, loader: ConfigLoader, base: Sequence[str], name: str) -> str:
    """Why there is no key ``name``: it is another script's, or there are others near it."""
    from hydra.types import RunMode

    top = name.partition(".")[0]
    having = [other for other, cls in SCRIPTS.items() if top in {field.name for field in dataclasses.fields(cls)}]
    if having and script not in having:
        return f"{script}.py has no {top}, which is a key of {', '.join(f'{other}.py' for other in having)}"
    if top == "hydra":
        config = loader.load_configuration(script, list(base), RunMode.MULTIRUN)
        return f"no such key; {suggest_key(name, [top, *flat_keys(config.hydra, 'hydra.')])}"
    return f"no such key; {suggest_key(name, flat_keys(compose(script, loader, base)))}"


def describe_null(config: DictConfig, key: str) -> str:
    """Why nothing can be set at ``key``: a key above it is null in ``config``."""
    parts = key.split(".")
    above = [".".join(parts[:count]) for count in range(1, len(parts))]
    null = next((name for name in above if OmegaConf.select(config, name) is None), above[-1])
    return f"nothing can be set below {null}, which is null with these choices"


def flat_keys(config: Any, prefix: str = "") -> Iterable[str]:
    """Dotted names of all keys."""
    for key in config:
        yield f"{prefix}{key}"
        try:
            child = config[key]
        except Exception:  # noqa: BLE001 - an interpolation that cannot be resolved has no keys
            continue
        if isinstance(child, DictConfig):
            yield from flat_keys(child, f"{prefix}{key}.")
