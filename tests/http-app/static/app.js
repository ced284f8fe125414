// What the server sent is followed by a page of books that the browser asks for, before it calls the
// page loaded.
const request = new XMLHttpRequest();
request.open("GET", "/api/books?page=2", false);
request.send();
const { books } = JSON.parse(request.responseText);
for (const { title, author } of books) {
  const item = document.createElement("li");
  item.textContent = `${title}, ${author}`;
  document.getElementById("items").append(item);
}
