// What the server sent is followed by a page of books that the browser asks for.
fetch("/api/books?page=2")
  .then((response) => response.json())
  .then(({ books }) => {
    const list = document.getElementById("items");
    for (const { title, author } of books) {
      const item = document.createElement("li");
      item.textContent = `${title}, ${author}`;
      list.append(item);
    }
    document.body.dataset.books = books.length;
  });
