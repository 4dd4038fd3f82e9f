import re

from serving.seeing.page_files import FOLDER, HEADERS, INDEX, page_files


def test_the_page_is_whole() -> None:
    """Whatever its files name of each other is there, and nothing else is."""
    files = page_files()
    assert {file.name for file in FOLDER.iterdir()} == set(files)
    named = {INDEX}
    for file in files.values():
        text = file.content.decode()
        named |= set(re.findall(r'"/live/([\w.]+)"', text)) | set(re.findall(r'from "\./([\w.]+)"', text))
    assert named == set(files)


def test_nothing_is_asked_of_anybody_else() -> None:
    """No address of another server, no script within the markup, no markup out of text; the browser is told as well."""
    for name, file in page_files().items():
        text = file.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//\w+\.\w", text), name
        assert "innerHTML" not in text, name
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=", text), name
    assert "default-src 'self'" in HEADERS["Content-Security-Policy"]
