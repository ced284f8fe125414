'use strict';
for (const input of document.querySelectorAll('input[data-filter]')) {
  input.addEventListener('input', () => {
    const wanted = input.value.toLowerCase();
    for (const one of document.querySelectorAll(input.dataset.filter)) {
      one.hidden = !one.textContent.toLowerCase().includes(wanted);
    }
  });
}
for (const head of document.querySelectorAll('.sortable thead th')) {
  head.addEventListener('click', () => {
    const table = head.closest('table');
    const falling = head.getAttribute('aria-sort') !== 'descending';
    for (const other of table.querySelectorAll('th')) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', falling ? 'descending' : 'ascending');
    const value = (row) => {
      const cell = row.cells[head.cellIndex];
      return 'v' in cell.dataset ? Number(cell.dataset.v) : cell.textContent;
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      return (x < y ? -1 : x > y ? 1 : 0) * (falling ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  });
}
addEventListener('beforeprint', () => {
  for (const one of document.querySelectorAll('details')) one.open = true;
});
