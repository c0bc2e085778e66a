"""What the heads of Warp kernels must look like, told from their source; see docs/conventions.md, "Kernels"."""

from __future__ import annotations

import ast
import io
import re
import tokenize

__all__ = ["MAX_PARAMETERS", "kernel_problems", "kernels_of"]

MAX_PARAMETERS = 12
REAL = re.compile(r"dtype=(float|wp\.float32|wp\.vec2|wp\.vec3)\b")


def kernels_of(tree: ast.Module) -> list[ast.FunctionDef]:
    """The functions that are decorated as kernels, at any depth."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return [f for f in functions if any(_is_warp(d, "kernel") for d in f.decorator_list)]


def kernel_problems(source: str) -> list[str]:
    """What is wrong with the kernels and structs of a module; empty for nothing."""
    tree = ast.parse(source)
    comments = _comments(source)
    problems = []
    for kernel in kernels_of(tree):
        problems += [f"{kernel.name}: {problem}" for problem in _head_problems(kernel, comments)]
        problems += [f"{kernel.name}: {problem}" for problem in _write_problems(kernel)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_is_warp(d, "struct") for d in node.decorator_list):
            for field in node.body:
                if isinstance(field, ast.AnnAssign):
                    name, end = ast.unparse(field.target), field.end_lineno or field.lineno
                    problem = _array_problem(name, field.annotation, comments.get(end, ""))
                    problems += [f"{node.name}: {problem}"] if problem else []
    return problems


def _is_warp(decorator: ast.expr, name: str) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(target) == f"wp.{name}"


def _comments(source: str) -> dict[int, str]:
    """Line: its comment, without the hash."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string[1:].strip() for token in tokens if token.type == tokenize.COMMENT}


def _array_problem(name: str, annotation: ast.expr, comment: str) -> str:
    """What the comment beside an array lacks."""
    kind = ast.unparse(annotation)
    if not kind.startswith("wp.array"):
        return ""
    shape = re.match(r"\([^()]*(\([^()]*\)[^()]*)*\)", comment)
    if shape is None:
        return f"{name} is an array without its shape in a comment, as in `# (N, 3) [m]`"
    if REAL.search(kind) and not comment[shape.end() :].strip():
        return f"{name} holds real numbers and says neither its unit, as in `[m]`, nor what they are"
    return ""


def _head_problems(kernel: ast.FunctionDef, comments: dict[int, str]) -> list[str]:
    problems = []
    arguments = kernel.args.args
    if len(arguments) > MAX_PARAMETERS:
        problems.append(f"{len(arguments)} parameters, at most {MAX_PARAMETERS}: put what travels together in a struct")
    group = ""
    before = kernel.lineno
    for argument in arguments:
        assert argument.annotation is not None
        end = argument.annotation.end_lineno or argument.lineno
        if argument.lineno == before and argument is not arguments[0]:
            problems.append(f"{argument.arg} must stand on a line of its own")
        headings = [comments[line] for line in range(before + 1, argument.lineno) if line in comments]
        for heading in headings:
            if not re.fullmatch(r"[A-Z][\w ]*( \(.*\))?:", heading):
                problems.append(f"`# {heading}` is no heading of a group, as `# Model:` or `# Out (added to):` is")
            elif group.startswith("Out") and not heading.startswith("Out"):
                problems.append(f"group `# {heading}` stands after the outputs, which come last")
            group = heading
        before = end
        if argument.arg == "begin" and argument is arguments[0]:
            continue
        if not group:
            problems.append(f"{argument.arg} is in no group: put a heading such as `# In:` above it")
        if group.startswith("Out") != argument.arg.endswith("_out"):
            problems.append(
                f"{argument.arg} is in group `# {group}`: outputs, and they alone, are named *_out under Out"
            )
        problem = _array_problem(argument.arg, argument.annotation, comments.get(end, ""))
        problems += [problem] if problem else []
    if not group.startswith("Out"):
        problems.append("there is no group `# Out:` at the end")
    return problems


def _write_problems(kernel: ast.FunctionDef) -> list[str]:
    """Parameters that the kernel itself writes to, but does not call outputs."""
    names = {argument.arg for argument in kernel.args.args}
    written: set[str] = set()
    for node in ast.walk(kernel):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = [target for target in node.targets if isinstance(target, ast.Subscript)]
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript):
            targets = [node.target]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("wp.atomic_"):
            targets = node.args[:1]
        for target in targets:
            while isinstance(target, (ast.Subscript, ast.Attribute)):
                target = target.value
            if isinstance(target, ast.Name) and target.id in names and not target.id.endswith("_out"):
                written.add(target.id)
    return [f"{name} is written to, and so an output: call it {name}_out" for name in sorted(written)]
