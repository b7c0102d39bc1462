"""Reads and checks an attribute registry in Weaver's v2 syntax (`file_format: definition/2`).

`load_registry` returns only what is sound; everything found wrong is in one `RegistryError`, each line naming the file
and the key. Needs PyYAML; only the generator and tests come here. What Weaver accepts and this does not read (metrics,
entities, template types) is refused rather than skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

FORMAT = "definition/2"
TYPES = ("string", "int", "double", "boolean", "string[]", "int[]", "double[]", "boolean[]", "any")
STABILITIES = ("development", "alpha", "beta", "release_candidate", "stable")
SPAN_KINDS = ("client", "server", "producer", "consumer", "internal")
_EXAMPLE_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "int": int,
    "double": (float, int),
    "boolean": bool,
}
_KEY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)+")

Level: TypeAlias = Literal["required", "conditionally_required", "recommended", "opt_in"]


class RegistryError(ValueError):
    """A registry that cannot be used: one line a fault, `file: key: what is wrong`."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One known value of an enum; enums are open."""

    id: str
    value: str | int
    brief: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    key: str
    type: str  # one of TYPES, or "enum"
    brief: str
    note: str = ""
    stability: str
    examples: tuple[Any, ...] = ()
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeRef:
    """An attribute on a signal, and how much it is wanted there."""

    key: str
    level: Level
    condition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A span, an event, a refinement of either, or a public group; `attributes` with all groups unfolded."""

    sort: Literal["span", "event", "span_refinement", "event_refinement", "group"]
    id: str
    brief: str
    refines: str = ""
    kind: str = ""
    name_note: str = ""
    attributes: tuple[AttributeRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    name: str
    schema_url: str
    attributes: Mapping[str, Attribute]
    signals: tuple[Signal, ...]
    imported: Registry | None = None

    def attribute(self, key: str) -> Attribute:
        found = self.attributes.get(key)
        if found is not None:
            return found
        if self.imported is None:
            raise KeyError(key)
        return self.imported.attribute(key)


def load_registry(folder: Path, *, prefix: str = "", imported: Registry | None = None) -> Registry:
    """The registry in `folder`; with `prefix`, its own keys must start so, and `imported` may be referred to."""
    return _Loader(folder, prefix, imported).registry()


@dataclass
class _Loader:
    folder: Path
    prefix: str
    imported: Registry | None
    faults: list[str] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    groups: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)

    def registry(self) -> Registry:
        manifest = self.read("manifest.yaml")
        for key in ("name", "schema_url"):
            if not isinstance(manifest.get(key), str):
                self.fault("manifest.yaml", key, "missing")
        files = {
            path.name: self.definitions(path.name)
            for path in sorted(self.folder.glob("*.yaml"))
            if path.name != "manifest.yaml"
        }
        for file, data in files.items():
            for given in self.list_of(file, data, "attributes"):
                self.add_attribute(file, given)
            for given in self.list_of(file, data, "attribute_groups"):
                self.add_group(file, given)
        self.check_namespaces()
        signals = [signal for file, data in files.items() for signal in self.signals(file, data)]
        self.check_signals(signals)
        if self.faults:
            raise RegistryError(self.faults)
        return Registry(
            name=manifest["name"],
            schema_url=manifest["schema_url"],
            attributes=self.attributes,
            signals=tuple(signals),
            imported=self.imported,
        )

    def fault(self, file: str, key: str, problem: str) -> None:
        self.faults.append(f"{file}: {key}: {problem}")

    def read(self, file: str) -> dict[str, Any]:
        try:
            data = yaml.load((self.folder / file).read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506  # a SafeLoader
        except (OSError, yaml.YAMLError) as error:
            raise RegistryError([f"{file}: not readable as YAML: {error}"]) from error
        if not isinstance(data, dict):
            raise RegistryError([f"{file}: must be a mapping"])
        return data

    def definitions(self, file: str) -> dict[str, Any]:
        data = self.read(file)
        if data.get("file_format") != FORMAT:
            self.fault(file, "file_format", f"must be {FORMAT!r}, got {data.get('file_format')!r}")
        known = {
            "file_format", "attributes", "attribute_groups", "spans", "span_refinements", "events", "event_refinements",
            "imports",
        }  # fmt: skip
        for key in sorted(set(data) - known):
            self.fault(file, key, "unknown or unsupported section")
        return data

    def list_of(self, file: str, data: Mapping[str, Any], section: str) -> list[Mapping[str, Any]]:
        given = data.get(section) or []
        if isinstance(given, list) and all(isinstance(one, dict) for one in given):
            return given
        self.fault(file, section, "must be a list of mappings")
        return []

    # -- attributes ----------------------------------------------------------------------------------------------------

    def add_attribute(self, file: str, given: Mapping[str, Any]) -> None:
        key = str(given.get("key", "(no key)"))
        before = len(self.faults)
        self.only(
            file, key, given, "key", "type", "brief", "note", "stability", "examples", "deprecated", "annotations"
        )
        if not _KEY.fullmatch(key):
            self.fault(file, key, "must be lower-case dotted words, like `mas.agent.role`")
        elif not key.startswith(self.prefix):
            self.fault(file, key, f"own attributes start with `{self.prefix}`")
        elif key.endswith(("_count", "_id")):
            self.fault(file, key, "the last word is its own part: `.count`, `.id`")
        if key in self.attributes or self.is_imported(key):
            self.fault(file, key, "defined twice")
        if not given.get("brief"):
            self.fault(file, key, "has no brief")
        if given.get("stability") not in STABILITIES:
            self.fault(file, key, f"stability must be one of {', '.join(STABILITIES)}")
        type_, members = self.type_of(file, key, given.get("type"))
        examples = given.get("examples", [])
        self.check_examples(file, key, type_, examples)
        if len(self.faults) == before:
            self.attributes[key] = Attribute(
                key=key, type=type_, brief=given["brief"], note=given.get("note", ""), stability=given["stability"],
                examples=tuple(examples), members=members,
            )  # fmt: skip

    def type_of(self, file: str, key: str, given: Any) -> tuple[str, tuple[Member, ...]]:
        if given in TYPES:
            return str(given), ()
        if not isinstance(given, dict) or set(given) != {"members"} or not given["members"]:
            self.fault(file, key, f"type must be one of {', '.join(TYPES)}, or have members; got {given!r}")
            return "string", ()
        members = [
            Member(id=str(one.get("id", "")), value=one.get("value", ""), brief=one.get("brief", ""))
            for one in given["members"]
        ]
        for what in ("id", "value"):
            values = [getattr(member, what) for member in members]
            for value in sorted({str(value) for value in values if values.count(value) > 1}):
                self.fault(file, key, f"two members have the {what} {value!r}")
        for member in members:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", member.id):
                self.fault(file, key, f"member id {member.id!r} must be lower-case words")
            if not isinstance(member.value, str | int) or isinstance(member.value, bool) or member.value == "":
                self.fault(file, key, f"member {member.id!r} needs a text or integer value")
        if len({type(member.value) for member in members}) > 1:
            self.fault(file, key, "members mix texts and integers")
        return "enum", tuple(members)

    def check_examples(self, file: str, key: str, type_: str, examples: Any) -> None:
        if not isinstance(examples, list):
            self.fault(file, key, "examples must be a list")
            return
        if type_.startswith("string") and not examples:
            self.fault(file, key, "text attributes need examples")
        wanted = _EXAMPLE_TYPES.get(type_)
        for example in examples:
            if wanted and (not isinstance(example, wanted) or (isinstance(example, bool) and type_ != "boolean")):
                self.fault(file, key, f"example {example!r} is no {type_}")

    def check_namespaces(self) -> None:
        """A key may not also be the namespace of others: backends that nest keys could store only one of them."""
        for key in self.attributes:
            for other in self.attributes:
                if other.startswith(key + "."):
                    self.fault(self.folder.name, key, f"is also the namespace of {other}")

    def is_imported(self, key: str) -> bool:
        return self.imported is not None and key in self.imported.attributes

    # -- groups and signals --------------------------------------------------------------------------------------------

    def add_group(self, file: str, given: Mapping[str, Any]) -> None:
        id_ = str(given.get("id", "(no id)"))
        if id_ in self.groups:
            self.fault(file, id_, "defined twice")
        if given.get("visibility") not in ("internal", "public"):
            self.fault(file, id_, "visibility must be internal or public")
        self.groups[id_] = (file, given)

    def signals(self, file: str, data: Mapping[str, Any]) -> Iterator[Signal]:
        for given in self.list_of(file, data, "attribute_groups"):
            if given.get("visibility") == "public":
                yield self.signal(file, given, "group", "id")
        for given in self.list_of(file, data, "spans"):
            self.only(
                file, str(given.get("type")), given,
                "type", "kind", "name", "brief", "note", "stability", "attributes", "deprecated", "annotations",
                "entity_associations",
            )  # fmt: skip
            yield self.signal(file, given, "span", "type")
        for given in self.list_of(file, data, "events"):
            yield self.signal(file, given, "event", "name")
        for given in self.list_of(file, data, "span_refinements"):
            yield self.signal(file, given, "span_refinement", "id")
        for given in self.list_of(file, data, "event_refinements"):
            yield self.signal(file, given, "event_refinement", "id")

    def signal(self, file: str, given: Mapping[str, Any], sort: Any, id_key: str) -> Signal:
        id_ = str(given.get(id_key, f"(no {id_key})"))
        refinement = sort.endswith("_refinement")
        if self.prefix and not id_.startswith(self.prefix):
            self.fault(file, id_, f"own signals start with `{self.prefix}`")
        if not refinement:
            if not given.get("brief"):
                self.fault(file, id_, "has no brief")
            if given.get("stability") not in STABILITIES:
                self.fault(file, id_, f"stability must be one of {', '.join(STABILITIES)}")
        elif not self.refers_to(sort, str(given.get("ref"))):
            self.fault(file, id_, f"refines {given.get('ref')!r}, which is not known")
        if sort == "span" and given.get("kind") not in SPAN_KINDS:
            self.fault(file, id_, f"kind must be one of {', '.join(SPAN_KINDS)}")
        return Signal(
            sort=sort, id=id_, brief=given.get("brief", ""), refines=str(given.get("ref", "")),
            kind=given.get("kind", ""),
            name_note=(given.get("name") or {}).get("note", "") if sort == "span" else "",
            attributes=tuple(self.unfold(file, id_, given)),
        )  # fmt: skip

    def refers_to(self, sort: str, id_: str) -> bool:
        wanted = sort.removesuffix("_refinement")
        imported = self.imported.signals if self.imported else ()
        return any(signal.sort == wanted and signal.id == id_ for signal in imported)

    def unfold(self, file: str, id_: str, given: Mapping[str, Any], seen: tuple[str, ...] = ()) -> list[AttributeRef]:
        """The references of a signal; its own override those of the groups it takes in."""
        own: dict[str, AttributeRef] = {}
        taken: dict[str, tuple[str, AttributeRef]] = {}
        for one in given.get("attributes") or []:
            if "ref_group" in one:
                group = one["ref_group"]
                if group not in self.groups or group in seen:
                    self.fault(file, id_, f"ref_group {group!r} is {'circular' if group in seen else 'not known'}")
                    continue
                for reference in self.unfold(self.groups[group][0], group, self.groups[group][1], (*seen, group)):
                    if reference.key in taken:
                        other = taken[reference.key][0]
                        self.fault(file, id_, f"groups {other!r} and {group!r} both have {reference.key}")
                    taken[reference.key] = (group, reference)
                continue
            found = self.reference(file, id_, one)
            if found.key in own:
                self.fault(file, id_, f"refers to {found.key} twice")
            own[found.key] = found
        return [*(reference for key, (_, reference) in taken.items() if key not in own), *own.values()]

    def reference(self, file: str, id_: str, given: Mapping[str, Any]) -> AttributeRef:
        key = str(given.get("ref", "(no ref)"))
        self.only(
            file, f"{id_}: {key}", given,
            "ref", "requirement_level", "brief", "note", "examples", "stability", "deprecated", "annotations",
            "sampling_relevant",
        )  # fmt: skip
        if key not in self.attributes and not self.is_imported(key):
            self.fault(file, id_, f"refers to {key}, which is not defined")
        level = given.get("requirement_level", "recommended")
        if isinstance(level, dict) and len(level) == 1:
            ((name, condition),) = level.items()
            if name in ("conditionally_required", "recommended") and isinstance(condition, str) and condition:
                return AttributeRef(key=key, level=name, condition=condition)
        if level not in ("required", "recommended", "opt_in"):
            self.fault(
                file, id_,
                f"{key}: requirement_level must be required, recommended, opt_in, or conditionally_required with a "
                f"condition, got {level!r}",
            )  # fmt: skip
            level = "recommended"
        return AttributeRef(key=key, level=level)

    def check_signals(self, signals: Iterable[Signal]) -> None:
        seen: set[tuple[str, str]] = set()
        for signal in signals:
            if (signal.sort, signal.id) in seen:
                self.fault(self.folder.name, signal.id, "defined twice")
            seen.add((signal.sort, signal.id))

    def only(self, file: str, key: str, given: Mapping[str, Any], *known: str) -> None:
        for name in sorted(set(given) - set(known)):
            self.fault(file, key, f"unknown member {name!r}")


class _UniqueKeys(yaml.SafeLoader):
    """YAML allows a key twice and keeps the last; here it is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
